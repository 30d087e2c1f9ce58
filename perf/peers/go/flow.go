package main

import "sync"

// ---- Pipelines -----------------------------------------------------------------------------------

// An item's way through three functions, as a loop in which they are inlined: iterators would be calls.
func pipelineFused(r *repetition) {
	items := r.amount(10_000_000)
	increment := func(n int) int { return n + 1 }
	sum := 0
	r.start()
	for item := 0; item < items; item++ {
		sum += increment(increment(increment(item)))
	}
	r.stop(items)
	r.expect(sum, items*(items-1)/2+3*items)
}

// Some 20 µs of work for each of 64 kinds of items.
func work(n int) int {
	state := uint64(n%64) + 1
	for i := 0; i < 10_000; i++ {
		state ^= state << 13
		state ^= state >> 7
		state ^= state << 17
	}
	return int(state >> 63)
}

func workOnAll(items int) int {
	sum := 0
	for kind := 0; kind < 64; kind++ {
		times := items / 64
		if kind < items%64 {
			times++
		}
		sum += work(kind) * times
	}
	return sum
}

func pipelineCompute(r *repetition, workers int) {
	items := r.amount(50_000)
	in, out := make(chan int, 16), make(chan int)
	r.start()
	go func() {
		produce(0, items, in)
		close(in)
	}()
	var group sync.WaitGroup
	group.Add(workers)
	for i := 0; i < workers; i++ {
		go func() {
			for item := range in {
				out <- work(item)
			}
			group.Done()
		}()
	}
	go func() {
		group.Wait()
		close(out)
	}()
	sum := 0
	for made := range out {
		sum += made
	}
	r.stop(items)
	r.expect(sum, workOnAll(items))
}

// ---- A pool of workers ---------------------------------------------------------------------------

type job struct {
	function func() int
	result   chan int
}

// Two workers and a queue of 64; as many jobs are handed in at a time as fit into it, then their results are read.
func poolSubmit(r *repetition) {
	const workers, queue = 2, 64
	rounds := (r.amount(1_000_000) + queue - 1) / queue
	jobs := make(chan job, queue)
	var group sync.WaitGroup
	group.Add(workers)
	for i := 0; i < workers; i++ {
		go func() {
			for job := range jobs {
				job.result <- job.function()
			}
			group.Done()
		}()
	}
	sum := 0
	results := make([]chan int, 0, queue)
	r.start()
	for round := 0; round < rounds; round++ {
		results = results[:0]
		for i := 0; i < queue; i++ {
			n := round*queue + i
			one := job{func() int { return n + 1 }, make(chan int, 1)}
			jobs <- one
			results = append(results, one.result)
		}
		for _, result := range results {
			sum += <-result
		}
	}
	r.stop(rounds * queue)
	close(jobs)
	group.Wait()
	r.expect(sum, rounds*queue*(rounds*queue+1)/2)
}
