package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"
)

type logSums struct {
	requests, errors, bytes int
}

func (s *logSums) add(one *logSums) {
	s.requests += one.requests
	s.errors += one.errors
	s.bytes += one.bytes
}

// makeLog writes a log of so many lines in the combined format, two seconds apart; and says what is in it.
func makeLog(name string, lines int) (wanted logSums) {
	file, err := os.Create(name)
	if err != nil {
		panic(err)
	}
	out := bufio.NewWriter(file)
	state := uint64(1)
	for i := 0; i < lines; i++ {
		state = state*6364136223846793005 + 1442695040888963407
		dice := int(state >> 33)
		status := 200
		if dice%100 < 2 {
			status = 500
			wanted.errors++
		} else if dice%100 < 10 {
			status = 404
		}
		at := i * 2 % 86_400
		fmt.Fprintf(out, "10.1.2.%d - - [%02d/May/2024:%02d:%02d:%02d +0000] \"GET /item/%d HTTP/1.1\" %d %d "+
			"\"-\" \"Mozilla/5.0 (X11; Linux)\"\n",
			dice%256, i*2/86_400%28+1, at/3600, at/60%60, at%60, dice/256%5000, status, dice%100_000)
		wanted.requests++
		wanted.bytes += dice % 100_000
	}
	if out.Flush() != nil || file.Close() != nil {
		panic("the log could not be written")
	}
	return wanted
}

// logCounts is what one worker counts.
type logCounts struct {
	all      logSums
	bad      int
	byStatus [1000]int
	windows  map[int64]*logSums
	paths    map[string]*logSums
	begin    int64
	window   *logSums
}

func newLogCounts() *logCounts {
	return &logCounts{windows: map[int64]*logSums{}, paths: map[string]*logSums{}, begin: -1}
}

func (c *logCounts) windowOf(begin int64) *logSums {
	if c.begin != begin {
		if c.windows[begin] == nil {
			c.windows[begin] = new(logSums)
		}
		c.begin, c.window = begin, c.windows[begin]
	}
	return c.window
}

func (c *logCounts) pathOf(path []byte) *logSums {
	sums := c.paths[string(path)] // allocates nothing
	if sums == nil {
		sums = new(logSums)
		c.paths[string(path)] = sums
	}
	return sums
}

func (c *logCounts) add(other *logCounts) {
	c.all.add(&other.all)
	c.bad += other.bad
	for status, n := range other.byStatus {
		c.byStatus[status] += n
	}
	for begin, sums := range other.windows {
		c.windowOf(begin).add(sums)
	}
	for path, sums := range other.paths {
		c.pathOf([]byte(path)).add(sums)
	}
}

// number reads decimal digits, and nothing else.
func number(text []byte) (n int, ok bool) {
	for _, digit := range text {
		if digit < '0' || digit > '9' {
			return 0, false
		}
		n = n*10 + int(digit-'0')
	}
	return n, len(text) > 0
}

const months = "JanFebMarAprMayJunJulAugSepOctNovDec"

// stamp reads "10/Oct/2024:13:55:36 -0700".
func stamp(text []byte) (int64, bool) {
	if len(text) != 26 || text[2] != '/' || text[6] != '/' || text[11] != ':' || text[14] != ':' || text[17] != ':' {
		return 0, false
	}
	month := 0
	for month < 36 && months[month:month+3] != string(text[3:6]) {
		month += 3
	}
	day, ok1 := number(text[:2])
	year, ok2 := number(text[7:11])
	hour, ok3 := number(text[12:14])
	minute, ok4 := number(text[15:17])
	second, ok5 := number(text[18:20])
	zoneHours, ok6 := number(text[22:24])
	zoneMinutes, ok7 := number(text[24:])
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || !ok6 || !ok7 || month == 36 || hour > 23 || minute > 59 || second > 60 {
		return 0, false
	}
	at := time.Date(year, time.Month(month/3+1), day, hour, minute, second, 0, time.UTC).Unix()
	zone := int64(zoneHours*3600 + zoneMinutes*60)
	if text[21] == '+' {
		zone = -zone
	}
	return at + zone, true
}

func (c *logCounts) line(line []byte) bool {
	open := bytes.IndexByte(line, '[')
	if open < 0 {
		return false
	}
	line = line[open+1:]
	shut := bytes.IndexByte(line, ']')
	if shut < 0 {
		return false
	}
	at, ok := stamp(line[:shut])
	line = line[shut+1:]
	if !ok || len(line) < 2 || line[0] != ' ' || line[1] != '"' {
		return false
	}
	line = line[2:]
	quote := 0
	for ; quote < len(line) && line[quote] != '"'; quote++ {
		if line[quote] == '\\' {
			quote++
		}
	}
	if quote >= len(line) {
		return false
	}
	asked := line[:quote]
	line = line[quote+1:]
	path := []byte("-")
	if space := bytes.IndexByte(asked, ' '); space >= 0 {
		path = asked[space+1:]
		if space = bytes.IndexByte(path, ' '); space >= 0 {
			path = path[:space]
		}
	}
	if len(line) == 0 || line[0] != ' ' {
		return false
	}
	line = line[1:]
	space := bytes.IndexByte(line, ' ')
	if space < 0 {
		return false
	}
	status, ok := number(line[:space])
	line = line[space+1:]
	if !ok || status > 999 {
		return false
	}
	if space = bytes.IndexByte(line, ' '); space >= 0 {
		line = line[:space]
	}
	size := 0
	if len(line) != 1 || line[0] != '-' {
		if size, ok = number(line); !ok {
			return false
		}
	}
	one := logSums{requests: 1, bytes: size}
	if status >= 500 {
		one.errors = 1
	}
	c.all.add(&one)
	c.byStatus[status]++
	c.windowOf(at - at%3600).add(&one)
	c.pathOf(path).add(&one)
	return true
}

func (c *logCounts) block(block []byte) {
	for len(block) > 0 {
		end := bytes.IndexByte(block, '\n')
		line := block
		if end < 0 {
			block = nil
		} else {
			line, block = block[:end], block[end+1:]
		}
		if len(line) > 0 && !c.line(line) {
			c.bad++
		}
	}
}

// One goroutine reads blocks of whole lines, as many as there are workers parse them, each with counts of its own.
func logReport(r *repetition) {
	lines := r.amount(2_000_000)
	directory, err := os.MkdirTemp("", "leat.perf.")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(directory)
	name := filepath.Join(directory, "access.log")
	wanted := makeLog(name, lines)
	workers := runtime.GOMAXPROCS(0)
	const blockSize = 256 * 1024
	blocks := make(chan []byte, workers)
	// What has been parsed is read into again.
	spare := sync.Pool{New: func() any { return make([]byte, 0, 2*blockSize) }}
	r.start()
	go func() {
		file, err := os.Open(name)
		if err != nil {
			panic(err)
		}
		var rest []byte
		for {
			block := append(spare.Get().([]byte)[:0], rest...)
			if cap(block) < len(rest)+blockSize {
				block = append(make([]byte, 0, len(rest)+2*blockSize), rest...)
			}
			got, err := file.Read(block[len(block) : len(block)+blockSize])
			block = block[:len(block)+got]
			if err == io.EOF {
				blocks <- block
				break
			}
			end := bytes.LastIndexByte(block, '\n') + 1
			rest = append(rest[:0], block[end:]...)
			blocks <- block[:end]
		}
		file.Close()
		close(blocks)
	}()
	parts := make([]*logCounts, workers)
	var group sync.WaitGroup
	group.Add(workers)
	for i := range parts {
		mine := newLogCounts()
		parts[i] = mine
		go func() {
			for block := range blocks {
				mine.block(block)
				spare.Put(block)
			}
			group.Done()
		}()
	}
	group.Wait()
	whole := newLogCounts()
	for _, part := range parts {
		whole.add(part)
	}
	r.stop(lines)
	r.expect(whole.all.requests, wanted.requests)
	r.expect(whole.all.bytes, wanted.bytes)
	r.expect(whole.all.errors, wanted.errors)
}
