package main

import (
	"context"
	"sync"
)

func chanPingpong(r *repetition) {
	rounds := r.amount(1_000_000)
	there, back := make(chan int), make(chan int)
	go func() {
		for ball := range there {
			back <- ball + 1
		}
		close(back)
	}()
	ball := 0
	r.start()
	for i := 0; i < rounds; i++ {
		there <- ball
		ball = <-back
	}
	r.stop(rounds)
	close(there)
	<-back
	r.expect(ball, rounds)
}

// The same under a context that could end, but does not, and has others to care for.
func chanPingpongCtx(r *repetition) {
	rounds := r.amount(1_000_000)
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Add(1000)
	for i := 0; i < 1000; i++ {
		go func() {
			<-ctx.Done()
			group.Done()
		}()
	}
	there, back := make(chan int), make(chan int)
	send := func(to chan<- int, ball int) bool {
		select {
		case to <- ball:
			return true
		case <-ctx.Done():
			return false
		}
	}
	receive := func(from <-chan int) (int, bool) {
		select {
		case ball, ok := <-from:
			return ball, ok
		case <-ctx.Done():
			return 0, false
		}
	}
	go func() {
		for {
			ball, ok := receive(there)
			if !ok || !send(back, ball+1) {
				break
			}
		}
		close(back)
	}()
	ball := 0
	r.start()
	for i := 0; i < rounds; i++ {
		send(there, ball)
		ball, _ = receive(back)
	}
	r.stop(rounds)
	close(there)
	<-back
	cancel()
	group.Wait()
	r.expect(ball, rounds)
}

// From many to many.
func pass(r *repetition, full, capacity, producers, consumers int) {
	share := r.amount(full / producers)
	items := share * producers
	through := make(chan int, capacity)
	sums := make(chan int, consumers)
	r.start()
	for i := 0; i < consumers; i++ {
		go func() {
			sum := 0
			for item := range through {
				sum += item
			}
			sums <- sum
		}()
	}
	var group sync.WaitGroup
	group.Add(producers)
	for i := 0; i < producers; i++ {
		first := i * share
		go func() {
			for item := first; item < first+share; item++ {
				through <- item
			}
			group.Done()
		}()
	}
	group.Wait()
	close(through)
	sum := 0
	for i := 0; i < consumers; i++ {
		sum += <-sums
	}
	r.stop(items)
	r.expect(sum, items*(items-1)/2)
}

func produce(first, beyond int, out chan<- int) {
	for item := first; item < beyond; item++ {
		out <- item
	}
}

func selectRecv2(r *repetition) {
	share := r.amount(2_000_000)
	items := 2 * share
	done := make(chan struct{})
	left, right := make(chan int, 128), make(chan int, 128)
	result := make(chan int)
	r.start()
	go produce(0, share, left)
	go produce(share, items, right)
	go func() {
		sum := 0
		for i := 0; i < items; i++ {
			select {
			case item := <-left:
				sum += item
			case item := <-right:
				sum += item
			case <-done:
				i = items
			}
		}
		result <- sum
	}()
	sum := <-result
	r.stop(items)
	r.expect(sum, items*(items-1)/2)
}

func selectFanin8(r *repetition) {
	share := r.amount(250_000)
	items := 8 * share
	var from [8]chan int
	for i := range from {
		from[i] = make(chan int)
	}
	result := make(chan int)
	r.start()
	for i := range from {
		go produce(i*share, (i+1)*share, from[i])
	}
	go func() {
		sum := 0
		for i := 0; i < items; i++ {
			select {
			case item := <-from[0]:
				sum += item
			case item := <-from[1]:
				sum += item
			case item := <-from[2]:
				sum += item
			case item := <-from[3]:
				sum += item
			case item := <-from[4]:
				sum += item
			case item := <-from[5]:
				sum += item
			case item := <-from[6]:
				sum += item
			case item := <-from[7]:
				sum += item
			}
		}
		result <- sum
	}()
	sum := <-result
	r.stop(items)
	r.expect(sum, items*(items-1)/2)
}

func selectDefault1(r *repetition) {
	times := r.amount(10_000_000)
	empty := make(chan int)
	otherwise := 0
	r.start()
	for i := 0; i < times; i++ {
		select {
		case <-empty:
		default:
			otherwise++
		}
	}
	r.stop(times)
	r.expect(otherwise, times)
}

func selectDefault2(r *repetition) {
	times := r.amount(10_000_000)
	left, right := make(chan int), make(chan int)
	otherwise := 0
	r.start()
	for i := 0; i < times; i++ {
		select {
		case <-left:
		case <-right:
		default:
			otherwise++
		}
	}
	r.stop(times)
	r.expect(otherwise, times)
}

// ---- Patterns ------------------------------------------------------------------------------------

func pipeline5(r *repetition) {
	items := r.amount(1_000_000)
	first := make(chan int)
	result := make(chan int)
	r.start()
	go func() {
		produce(0, items, first)
		close(first)
	}()
	last := first
	for stage := 0; stage < 3; stage++ {
		in, out := last, make(chan int)
		go func() {
			for item := range in {
				out <- item + 1
			}
			close(out)
		}()
		last = out
	}
	go func() {
		sum := 0
		for item := range last {
			sum += item
		}
		result <- sum
	}()
	sum := <-result
	r.stop(items)
	r.expect(sum, items*(items-1)/2+3*items)
}

func fanOutIn8(r *repetition) {
	items := r.amount(1_000_000)
	work, results := make(chan int), make(chan int)
	result := make(chan int)
	r.start()
	go func() {
		produce(0, items, work)
		close(work)
	}()
	var group sync.WaitGroup
	group.Add(8)
	for i := 0; i < 8; i++ {
		go func() {
			for item := range work {
				results <- item + 1
			}
			group.Done()
		}()
	}
	go func() {
		group.Wait()
		close(results)
	}()
	go func() {
		sum := 0
		for item := range results {
			sum += item
		}
		result <- sum
	}()
	sum := <-result
	r.stop(items)
	r.expect(sum, items*(items-1)/2+items)
}

func primeSieve(r *repetition) {
	primes := r.depth(2000, 200, 40)
	wanted := map[int]int{2000: 17389, 200: 1223, 40: 173}[primes]
	ctx, cancel := context.WithCancel(context.Background())
	r.start()
	numbers := make(chan int)
	go func(out chan<- int) {
		for number := 2; ; number++ {
			select {
			case out <- number:
			case <-ctx.Done():
				close(out)
				return
			}
		}
	}(numbers)
	var group sync.WaitGroup
	group.Add(primes)
	prime := 0
	for i := 0; i < primes; i++ {
		prime = <-numbers
		in, out, divisor := numbers, make(chan int), prime
		go func() {
			for number := range in {
				if number%divisor != 0 {
					out <- number
				}
			}
			close(out)
			group.Done()
		}()
		numbers = out
	}
	r.stop(1)
	cancel()
	for range numbers {
	}
	group.Wait()
	r.expect(prime, wanted)
}

// A broker as one writes it by hand: each subscriber has a channel, publishing sends to all.
type broker struct {
	mutex       sync.RWMutex
	subscribers []chan int
}

func (b *broker) subscribe(capacity int) <-chan int {
	subscriber := make(chan int, capacity)
	b.mutex.Lock()
	b.subscribers = append(b.subscribers, subscriber)
	b.mutex.Unlock()
	return subscriber
}

func (b *broker) publish(message int) {
	b.mutex.RLock()
	for _, subscriber := range b.subscribers {
		subscriber <- message
	}
	b.mutex.RUnlock()
}

func (b *broker) close() {
	b.mutex.Lock()
	for _, subscriber := range b.subscribers {
		close(subscriber)
	}
	b.subscribers = nil
	b.mutex.Unlock()
}

func brokerFanout(r *repetition) {
	const subscribers = 100
	messages := r.amount(100_000)
	var topic broker
	sums := make(chan int, subscribers)
	for i := 0; i < subscribers; i++ {
		inbox := topic.subscribe(128)
		go func() {
			sum := 0
			for message := range inbox {
				sum += message
			}
			sums <- sum
		}()
	}
	r.start()
	go func() {
		for i := 0; i < messages; i++ {
			topic.publish(i)
		}
		topic.close()
	}()
	sum := 0
	for i := 0; i < subscribers; i++ {
		sum += <-sums
	}
	r.stop(messages * subscribers)
	r.expect(sum, subscribers*(messages*(messages-1)/2))
}
