package main

import (
	"runtime"
	"sync"
)

// One goroutine starts many and waits for all of them; each leaves a mark.
func spawnJoin(r *repetition) {
	tasks := r.amount(1_000_000)
	marks := make([]bool, tasks)
	r.start()
	var group sync.WaitGroup
	group.Add(tasks)
	for i := 0; i < tasks; i++ {
		i := i
		go func() {
			marks[i] = true
			group.Done()
		}()
	}
	group.Wait()
	r.stop(tasks)
	marked := 0
	for _, mark := range marks {
		if mark {
			marked++
		}
	}
	r.expect(marked, tasks)
}

func yield(r *repetition) {
	each := r.amount(2_000_000)
	var done [2]int
	var group sync.WaitGroup
	group.Add(2)
	r.start()
	for task := range done {
		task := task
		go func() {
			n := 0
			for ; n < each; n++ {
				runtime.Gosched()
			}
			done[task] = n
			group.Done()
		}()
	}
	group.Wait()
	r.stop(2 * each)
	r.expect(done[0]+done[1], 2*each)
}

// ---- Trees ---------------------------------------------------------------------------------------

func skynetChannels(number, size int, result chan<- int) {
	if size == 1 {
		result <- number
		return
	}
	results := make(chan int, 10)
	size /= 10
	for i := 0; i < 10; i++ {
		go skynetChannels(number+i*size, size, results)
	}
	sum := 0
	for i := 0; i < 10; i++ {
		sum += <-results
	}
	result <- sum
}

func skynetChan(r *repetition) {
	leaves := r.depth(1_000_000, 100_000, 1000)
	result := make(chan int, 1)
	r.start()
	skynetChannels(0, leaves, result)
	sum := <-result
	r.stop(1)
	r.expect(sum, leaves*(leaves-1)/2)
}

// What a node waits for is one object, so that it is one allocation.
type skynetNode struct {
	sync.WaitGroup
	sums [10]int
}

func skynetTree(number, size int) int {
	if size == 1 {
		return number
	}
	var node skynetNode
	node.Add(10)
	size /= 10
	for i := range node.sums {
		i := i
		go func() {
			node.sums[i] = skynetTree(number+i*size, size)
			node.Done()
		}()
	}
	node.Wait()
	sum := 0
	for _, part := range node.sums {
		sum += part
	}
	return sum
}

func skynetJoin(r *repetition) {
	leaves := r.depth(1_000_000, 100_000, 1000)
	r.start()
	sum := skynetTree(0, leaves)
	r.stop(1)
	r.expect(sum, leaves*(leaves-1)/2)
}

type fibonacciNode struct {
	sync.WaitGroup
	first int
}

// One child is a goroutine, the other is called: the parent would do nothing but wait for it.
func fibonacci(n int) int {
	if n < 2 {
		return n
	}
	var node fibonacciNode
	node.Add(1)
	go func() {
		node.first = fibonacci(n - 1)
		node.Done()
	}()
	second := fibonacci(n - 2)
	node.Wait()
	return node.first + second
}

func fib(r *repetition) {
	n := r.depth(30, 20, 16)
	wanted := map[int]int{30: 832040, 20: 6765, 16: 987}[n]
	r.start()
	got := fibonacci(n)
	r.stop(1)
	r.expect(got, wanted)
}

// The rows of the queens on the columns so far.
type board [14]int8

func (b *board) allows(column, row int) bool {
	for i := 0; i < column; i++ {
		distance := int(b[i]) - row
		if distance == 0 || distance == column-i || distance == i-column {
			return false
		}
	}
	return true
}

type queensNode struct {
	sync.WaitGroup
	counts [14]int32
}

func queens(size, column int, placed board) int32 {
	if column == size {
		return 1
	}
	var node queensNode
	for row := 0; row < size; row++ {
		if !placed.allows(column, row) {
			continue
		}
		next, row := placed, row
		next[column] = int8(row)
		node.Add(1)
		go func() {
			node.counts[row] = queens(size, column+1, next)
			node.Done()
		}()
	}
	node.Wait()
	sum := int32(0)
	for _, count := range node.counts {
		sum += count
	}
	return sum
}

func nqueens(r *repetition) {
	size := r.depth(14, 10, 8)
	wanted := map[int]int{14: 365596, 10: 724, 8: 92}[size]
	r.start()
	got := queens(size, 0, board{})
	r.stop(1)
	r.expect(int(got), wanted)
}
