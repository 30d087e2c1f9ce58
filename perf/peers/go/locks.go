package main

import (
	"context"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"
)

// inTasks runs work(0) ... work(tasks-1), each in a goroutine, and waits for all.
func inTasks(tasks int, work func(task int)) {
	var group sync.WaitGroup
	group.Add(tasks)
	for i := 0; i < tasks; i++ {
		i := i
		go func() {
			work(i)
			group.Done()
		}()
	}
	group.Wait()
}

func mutexUncontended(r *repetition) {
	times := r.amount(10_000_000)
	var mutex sync.Mutex
	count := 0
	r.start()
	for i := 0; i < times; i++ {
		mutex.Lock()
		count++
		mutex.Unlock()
	}
	r.stop(times)
	r.expect(count, times)
}

func mutexContended(r *repetition) {
	times := r.amount(500_000)
	var mutex sync.Mutex
	count := 0
	r.start()
	inTasks(8, func(int) {
		for i := 0; i < times; i++ {
			mutex.Lock()
			count++
			mutex.Unlock()
		}
	})
	r.stop(8 * times)
	r.expect(count, 8*times)
}

func rwRead(r *repetition) {
	times := r.amount(500_000)
	var mutex sync.RWMutex
	var total atomic.Int64
	value := 1
	r.start()
	inTasks(8, func(int) {
		sum := 0
		for i := 0; i < times; i++ {
			mutex.RLock()
			sum += value
			mutex.RUnlock()
		}
		total.Add(int64(sum))
	})
	r.stop(8 * times)
	r.expect(int(total.Load()), 8*times)
}

// Of a hundred operations, one writes.
func rwMixed(r *repetition) {
	times := r.amount(500_000)
	var mutex sync.RWMutex
	var read atomic.Int64
	value := 0
	writes := 0
	for i := 0; i < times; i++ {
		if i%100 == 0 {
			writes++
		}
	}
	r.start()
	inTasks(8, func(int) {
		sum := 0
		for i := 0; i < times; i++ {
			if i%100 == 0 {
				mutex.Lock()
				value++
				mutex.Unlock()
			} else {
				mutex.RLock()
				if value >= 0 {
					sum++
				}
				mutex.RUnlock()
			}
		}
		read.Add(int64(sum))
	})
	r.stop(8 * times)
	r.expect(value, 8*writes)
	r.expect(int(read.Load()), 8*(times-writes))
}

// A buffered channel is Go's semaphore.
func semaphore(r *repetition) {
	times := r.amount(20_000)
	permits := make(chan struct{}, 4)
	var total atomic.Int64
	r.start()
	inTasks(64, func(int) {
		for i := 0; i < times; i++ {
			permits <- struct{}{}
			runtime.Gosched()
			<-permits
		}
		total.Add(int64(times))
	})
	r.stop(64 * times)
	r.expect(int(total.Load()), 64*times)
}

func once(r *repetition) {
	times := r.amount(10_000_000)
	var once sync.Once
	runs, calls := 0, 0
	r.start()
	for i := 0; i < times; i++ {
		once.Do(func() { runs++ })
		calls += runs
	}
	r.stop(times)
	r.expect(runs, 1)
	r.expect(calls, times)
}

// 64 tasks ask for 16 keys; whoever comes while the answer is on its way gets the same.
func singleFlight(r *repetition) {
	times := r.amount(20_000)
	var keys [16]string
	for i := range keys {
		keys[i] = strconv.Itoa(i)
	}
	var flights singleflight.Group
	var total atomic.Int64
	wanted := 0
	for task := 0; task < 64; task++ {
		for i := 0; i < times; i++ {
			wanted += (task + i) % 16
		}
	}
	r.start()
	inTasks(64, func(task int) {
		sum := 0
		for i := 0; i < times; i++ {
			key := (task + i) % 16
			answer, _, _ := flights.Do(keys[key], func() (interface{}, error) {
				runtime.Gosched()
				return key, nil
			})
			sum += answer.(int)
		}
		total.Add(int64(sum))
	})
	r.stop(64 * times)
	r.expect(int(total.Load()), wanted)
}

const mapKeys = 100_000

func next(random uint64) uint64 {
	return random*6364136223846793005 + 1442695040888963407
}

func mapLoad(r *repetition) {
	times := r.amount(10_000_000 / 8)
	var entries sync.Map
	for key := 0; key < mapKeys; key++ {
		entries.Store(key, key)
	}
	var found atomic.Int64
	r.start()
	inTasks(8, func(task int) {
		random, here := uint64(task), 0
		for i := 0; i < times; i++ {
			random = next(random)
			key := int(random >> 33 % mapKeys)
			if value, ok := entries.Load(key); ok && value.(int) == key {
				here++
			}
		}
		found.Add(int64(here))
	})
	r.stop(8 * times)
	r.expect(int(found.Load()), 8*times)
}

// Of a hundred operations, 90 load, 9 store and one deletes.
func mapMixed(r *repetition) {
	times := r.amount(10_000_000 / 8)
	var entries sync.Map
	for key := 0; key < mapKeys; key++ {
		entries.Store(key, key)
	}
	var wrong atomic.Int64
	r.start()
	inTasks(8, func(task int) {
		random, here := uint64(task), 0
		for i := 0; i < times; i++ {
			random = next(random)
			key := int(random >> 33 % mapKeys)
			switch what := random >> 13 % 100; {
			case what < 90:
				if value, ok := entries.Load(key); ok && value.(int) != key {
					here++
				}
			case what < 99:
				entries.Store(key, key)
			default:
				entries.Delete(key)
			}
		}
		wrong.Add(int64(here))
	})
	r.stop(8 * times)
	r.expect(int(wrong.Load()), 0)
}

func poolGet(r *repetition) {
	times := r.amount(10_000_000)
	pool := sync.Pool{New: func() interface{} { return new([64]byte) }}
	sum := 0
	r.start()
	for i := 0; i < times; i++ {
		object := pool.Get().(*[64]byte)
		object[0] = 1
		sum += int(object[0])
		pool.Put(object)
	}
	r.stop(times)
	r.expect(sum, times)
}

// There is always a token.
func rateLimitAllow(r *repetition) {
	times := r.amount(10_000_000)
	limiter := rate.NewLimiter(rate.Every(time.Nanosecond), 1_000_000)
	allowed := 0
	r.start()
	for i := 0; i < times; i++ {
		if limiter.Allow() {
			allowed++
		}
	}
	r.stop(times)
	r.expect(allowed, times)
}

// The same as a wait.
func rateLimitWait(r *repetition) {
	times := r.amount(10_000_000)
	limiter := rate.NewLimiter(rate.Every(time.Nanosecond), 1_000_000)
	ctx, cancel := context.WithCancel(context.Background())
	waited := 0
	r.start()
	for i := 0; i < times; i++ {
		if limiter.Wait(ctx) == nil {
			waited++
		}
	}
	r.stop(times)
	cancel()
	r.expect(waited, times)
}
