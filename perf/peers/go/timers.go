package main

import (
	"context"
	"errors"
	"math/rand"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

func timerChurnCtx(r *repetition) {
	times := r.amount(1_000_000)
	parent, cancelParent := context.WithCancel(context.Background())
	defer cancelParent()
	ended := 0
	r.start()
	for i := 0; i < times; i++ {
		ctx, cancel := context.WithTimeout(parent, time.Hour)
		cancel()
		if ctx.Err() != nil {
			ended++
		}
	}
	r.stop(times)
	r.expect(ended, times)
}

func timerChurnTimer(r *repetition) {
	times := r.amount(1_000_000)
	stopped := 0
	r.start()
	for i := 0; i < times; i++ {
		if time.NewTimer(time.Hour).Stop() {
			stopped++
		}
	}
	r.stop(times)
	r.expect(stopped, times)
}

func sleepMany(r *repetition) {
	tasks := r.amount(100_000)
	random := rand.New(rand.NewSource(1))
	late := make([]time.Duration, tasks)
	durations := make([]time.Duration, tasks)
	for i := range durations {
		durations[i] = time.Millisecond + time.Duration(random.Intn(999_001))*time.Microsecond
	}
	var awake atomic.Int64
	before := processorTime()
	inTasks(tasks, func(task int) {
		begin := time.Now()
		time.Sleep(durations[task])
		late[task] = time.Since(begin) - durations[task]
		awake.Add(1)
	})
	used := processorTime() - before
	r.expect(int(awake.Load()), tasks)
	r.is(float64(used.Nanoseconds())/1e6, tasks)
	sort.Slice(late, func(a, b int) bool { return late[a] < late[b] })
	r.also("p99_late_us", float64(late[tasks*99/100].Nanoseconds())/1e3)
}

// parked waits until that many goroutines have said that they are about to park, and for a moment more.
func parked(arrived *atomic.Int64, tasks int) {
	for int(arrived.Load()) < tasks {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(50 * time.Millisecond)
}

// From cancelling to the end of the last of those who wait.
func ctxCancel(r *repetition) {
	tasks := r.amount(100_000)
	ctx, cancel := context.WithCancel(context.Background())
	never := make(chan int)
	var arrived, cancelled atomic.Int64
	var group sync.WaitGroup
	group.Add(tasks)
	for i := 0; i < tasks; i++ {
		go func() {
			arrived.Add(1)
			select {
			case <-ctx.Done():
				cancelled.Add(1)
			case <-never:
			}
			group.Done()
		}()
	}
	parked(&arrived, tasks)
	r.start()
	cancel()
	group.Wait()
	r.stop(tasks)
	r.expect(int(cancelled.Load()), tasks)
}

// park starts goroutines that wait for a value, and returns when they do. release ends them.
func park(tasks int) (release func()) {
	never := make(chan int)
	var arrived atomic.Int64
	var group sync.WaitGroup
	group.Add(tasks)
	for i := 0; i < tasks; i++ {
		go func() {
			arrived.Add(1)
			<-never
			group.Done()
		}()
	}
	parked(&arrived, tasks)
	return func() {
		close(never)
		group.Wait()
	}
}

func memParked(r *repetition) {
	tasks := r.amount(1_000_000)
	before := residentBytes()
	release := park(tasks)
	r.is(float64(residentBytes()-before)/float64(tasks), tasks)
	release()
}

func idle(r *repetition) {
	release := park(r.amount(100_000))
	pause := 10 * time.Second
	if r.quick {
		pause /= 1000
	}
	before := processorTime()
	time.Sleep(pause)
	r.is(float64((processorTime()-before).Nanoseconds())/1e6, 1)
	release()
}

var errFailed = errors.New("failed")

// 100 tasks, one fails, the rest wait for the context.
func errGroup(r *repetition) {
	rounds := r.amount(1000)
	failures := 0
	r.start()
	for round := 0; round < rounds; round++ {
		group, ctx := errgroup.WithContext(context.Background())
		for task := 0; task < 99; task++ {
			group.Go(func() error {
				<-ctx.Done()
				return ctx.Err()
			})
		}
		group.Go(func() error { return errFailed })
		if group.Wait() == errFailed {
			failures++
		}
	}
	r.stop(rounds)
	r.expect(failures, rounds)
}
