// The rows of ../../ in Go.
//
//	go --list                           the rows, one per line: NAME UNIT
//	go ROW [--workers N] [--quick]      a short warm-up, then one repetition that is measured
//
// A repetition prints one line of JSON. A wrong result ends the program with 1, a row that it does not have with 77.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A repetition is one run of a row's work, to warm up or to be measured.
type repetition struct {
	warmsUp    bool
	quick      bool
	begin      time.Time
	taken      time.Duration
	mallocs    uint64
	operations int
	value      float64
	hasValue   bool
	more       string
}

// amount is how much is to be done: the full amount, a tenth to warm up, a thousandth of either if it has to be
// quick.
func (r *repetition) amount(full int) int {
	if r.warmsUp {
		full /= 10
	}
	if r.quick {
		full /= 1000
	}
	if full < 1 {
		full = 1
	}
	return full
}

// depth is amount for what is not a number of operations.
func (r *repetition) depth(full, toWarmUp, quickly int) int {
	switch {
	case r.quick:
		return quickly
	case r.warmsUp:
		return toWarmUp
	default:
		return full
	}
}

func mallocs() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.Mallocs
}

func (r *repetition) start() {
	if !r.warmsUp {
		r.mallocs = mallocs()
	}
	r.begin = time.Now()
}

func (r *repetition) stop(operations int) {
	r.taken = time.Since(r.begin)
	if !r.warmsUp {
		r.mallocs = mallocs() - r.mallocs
	}
	r.operations = operations
}

// is sets the value of a row that is not the time that its work took.
func (r *repetition) is(value float64, operations int) {
	r.value, r.hasValue, r.operations = value, true, operations
}

func (r *repetition) also(name string, value float64) {
	r.more += fmt.Sprintf(`,"%s":%.10g`, name, value)
}

func (r *repetition) expect(got, wanted int) {
	if got != wanted {
		fmt.Fprintf(os.Stderr, "the result is %d, not %d\n", got, wanted)
		os.Exit(1)
	}
}

func (r *repetition) print(row row, workers int) {
	value := r.value
	if !r.hasValue {
		value = float64(r.taken.Nanoseconds()) / float64(r.operations)
		switch {
		case strings.HasPrefix(row.unit, "ms"):
			value /= 1e6
		case strings.HasPrefix(row.unit, "µs"):
			value /= 1e3
		}
	}
	allocations := "null"
	if !r.hasValue {
		allocations = fmt.Sprintf("%.4g", float64(r.mallocs)/float64(r.operations))
	}
	fmt.Printf(`{"name":"%s","variant":"go","workers":%d,"unit":"%s","value":%.10g,"allocs_per_op":%s,"peak_kb":%d%s}`+"\n",
		row.name, workers, row.unit, value, allocations, peakKilobytes(), r.more)
}

// processorTime is what all threads of the process have used.
func processorTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func residentBytes() int {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		panic(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(statm))[1])
	if err != nil {
		panic(err)
	}
	return pages * os.Getpagesize()
}

// peakKilobytes does not ask getrusage: what that says is inherited from the program that started this one.
func peakKilobytes() int {
	status, _ := os.ReadFile("/proc/self/status")
	for _, line := range strings.Split(string(status), "\n") {
		if strings.HasPrefix(line, "VmHWM:") {
			peak, _ := strconv.Atoi(strings.Fields(line)[1])
			return peak
		}
	}
	return 0
}

type row struct {
	name string
	unit string
	work func(*repetition)
	// A row that measures memory, or the time that nothing takes, is not warmed up.
	cold bool
}

var rows = []row{
	{"spawn_join", "ns/task", spawnJoin, false},
	{"yield", "ns", yield, false},
	{"chan_pingpong", "ns/round trip", chanPingpong, false},
	{"chan_pingpong_ctx", "ns/round trip", chanPingpongCtx, false},
	{"chan_spsc.cap128", "ns/item", func(r *repetition) { pass(r, 10_000_000, 128, 1, 1) }, false},
	{"chan_spsc.cap1", "ns/item", func(r *repetition) { pass(r, 10_000_000, 1, 1, 1) }, false},
	{"chan_mpmc", "ns/item", func(r *repetition) { pass(r, 4_000_000, 64, 4, 4) }, false},
	{"chan_unbuffered_mpmc", "ns/item", func(r *repetition) { pass(r, 4_000_000, 0, 4, 4) }, false},
	{"select_recv2", "ns/item", selectRecv2, false},
	{"select_fanin8", "ns/item", selectFanin8, false},
	{"select_default.1ch", "ns", selectDefault1, false},
	{"select_default.2ch", "ns", selectDefault2, false},
	{"mutex_uncontended", "ns", mutexUncontended, false},
	{"mutex_contended", "ns/op", mutexContended, false},
	{"rw_read", "ns/op", rwRead, false},
	{"rw_mixed", "ns/op", rwMixed, false},
	{"semaphore", "ns/op", semaphore, false},
	{"once", "ns/op", once, false},
	{"single_flight", "ns/op", singleFlight, false},
	{"map_load", "ns/op", mapLoad, false},
	{"map_mixed", "ns/op", mapMixed, false},
	{"pool_get", "ns/op", poolGet, false},
	{"timer_churn.ctx", "ns", timerChurnCtx, false},
	{"timer_churn.timer", "ns", timerChurnTimer, false},
	{"sleep_many", "CPU ms", sleepMany, true},
	{"ctx_cancel", "ns/task", ctxCancel, false},
	{"skynet_chan", "ms", skynetChan, false},
	{"skynet_join", "ms", skynetJoin, false},
	{"fib", "ms", fib, false},
	{"nqueens", "ms", nqueens, false},
	{"mem_parked", "B/task", memParked, true},
	{"pipeline_5", "ns/item", pipeline5, false},
	{"fan_out_in_8", "ns/item", fanOutIn8, false},
	{"prime_sieve", "ms", primeSieve, false},
	{"pipeline_fused", "ns/item", pipelineFused, false},
	// What the library does in leat is here written by hand, and so these are the same.
	{"pipeline_segments", "ns/item", pipeline5, false},
	{"pipeline_compute.w1", "ns/item", func(r *repetition) { pipelineCompute(r, 1) }, false},
	{"pipeline_compute.w2", "ns/item", func(r *repetition) { pipelineCompute(r, 2) }, false},
	{"fan_out_8", "ns/item", fanOutIn8, false},
	{"pool_submit", "ns/job", poolSubmit, false},
	{"log_report", "ns/line", logReport, false},
	{"errgroup", "µs/round", errGroup, false},
	{"ratelimit_allow", "ns", rateLimitAllow, false},
	{"ratelimit_wait", "ns", rateLimitWait, false},
	{"broker_fanout", "ns/delivery", brokerFanout, false},
	{"idle", "CPU ms", idle, true},
	{"echo_c1", "msgs/s", echo(1, 20_000), false},
	{"echo_c64", "msgs/s", echo(64, 400_000), false},
	{"echo_c1000", "msgs/s", echo(1000, 400_000), false},
	{"accept_rate", "connections/s", acceptRate, false},
	{"http_hello", "requests/s", httpHello, false},
}

func usage() {
	fmt.Fprintf(os.Stderr, "usage: %s --list | ROW [--workers N] [--quick]\n", os.Args[0])
	os.Exit(2)
}

func main() {
	wanted, workers, quick := "", 1, false
	for i := 1; i < len(os.Args); i++ {
		switch word := os.Args[i]; {
		case word == "--list":
			for _, row := range rows {
				fmt.Println(row.name, row.unit)
			}
			return
		case word == "--quick":
			quick = true
		case word == "--workers" && i+1 < len(os.Args):
			i++
			number, err := strconv.Atoi(os.Args[i])
			if err != nil || number < 1 {
				usage()
			}
			workers = number
		case wanted == "" && !strings.HasPrefix(word, "-"):
			wanted = word
		default:
			usage()
		}
	}
	if wanted == "" {
		usage()
	}
	for _, row := range rows {
		if row.name != wanted {
			continue
		}
		runtime.GOMAXPROCS(workers)
		if !row.cold {
			row.work(&repetition{warmsUp: true, quick: quick})
			runtime.GC()
		}
		measured := repetition{quick: quick}
		row.work(&measured)
		measured.print(row, workers)
		return
	}
	os.Exit(77)
}
