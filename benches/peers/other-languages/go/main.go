// failsafe-go and gobreaker, by a plain loop, in turns, as benches/harness does it. Prints a line of CSV a row: row,
// candidate, nanoseconds a call with one thread and with two, allocations a call.
package main

import (
	"fmt"
	"runtime"
	"sort"
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/bulkhead"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/failsafe-go/failsafe-go/ratelimiter"
	"github.com/failsafe-go/failsafe-go/retrypolicy"
	"github.com/failsafe-go/failsafe-go/timeout"
	"github.com/sony/gobreaker/v2"
)

const (
	rounds = 201
	slice  = 500 * time.Microsecond
	warmUp = 2000

	theirs = "failsafe-go 0.9 (Go)"
	sony   = "gobreaker 2.4 (Go)"
)

type candidate struct {
	row, name   string
	call        func()
	calls       int
	allocations float64
	one, two    []float64
}

func (c *candidate) time(calls int) time.Duration {
	started := time.Now()
	for range calls {
		c.call()
	}
	return time.Since(started)
}

func (c *candidate) prepare() {
	c.time(warmUp)
	took := max(c.time(warmUp), 1)
	c.calls = min(max(int(slice*warmUp/took), 100), 1_000_000)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c.time(c.calls)
	runtime.ReadMemStats(&after)
	c.allocations = float64(after.Mallocs-before.Mallocs) / float64(c.calls)
}

func (c *candidate) round() {
	c.one = append(c.one, float64(c.time(c.calls))/float64(c.calls))
	var ready, done sync.WaitGroup
	ready.Add(2)
	done.Add(2)
	var starts, ends [2]time.Time
	for i := range 2 {
		go func() {
			defer done.Done()
			ready.Done()
			ready.Wait()
			starts[i] = time.Now()
			c.time(c.calls)
			ends[i] = time.Now()
		}()
	}
	done.Wait()
	first, last := starts[0], ends[0]
	if starts[1].Before(first) {
		first = starts[1]
	}
	if ends[1].After(last) {
		last = ends[1]
	}
	c.two = append(c.two, float64(last.Sub(first))/float64(c.calls))
}

func median(figures []float64) float64 {
	sort.Float64s(figures)
	return figures[len(figures)/2]
}

func answer() (uint64, error) { return 7, nil }

func with(policies ...failsafe.Policy[uint64]) func() {
	executor := failsafe.With(policies...)
	return func() { _, _ = executor.Get(answer) }
}

func main() {
	// Half of the last 100.
	breaker := func() circuitbreaker.CircuitBreaker[uint64] {
		return circuitbreaker.NewBuilder[uint64]().WithFailureThresholdRatio(50, 100).WithDelay(time.Hour).Build()
	}
	open := breaker()
	open.Open()
	full := bulkhead.New[uint64](1)
	if !full.TryAcquirePermit() {
		panic("the only permit")
	}
	timed := circuitbreaker.NewBuilder[uint64]().WithFailureRateThreshold(0.5, 20, time.Hour).Build()
	inTime := with(timed)
	for range 10_000 {
		inTime()
	}
	roomy := bulkhead.New[uint64](1000)
	retry := retrypolicy.NewBuilder[uint64]().WithMaxAttempts(3).WithBackoff(50*time.Millisecond, 5*time.Second).Build()

	// It has no window of calls: counts since it closed, tripped by the same rate.
	tripped := false
	settings := gobreaker.Settings{Timeout: time.Hour, ReadyToTrip: func(counts gobreaker.Counts) bool {
		return tripped || (counts.Requests >= 20 && counts.TotalFailures*2 >= counts.Requests)
	}}
	closed := gobreaker.NewCircuitBreaker[uint64](settings)
	opened := gobreaker.NewCircuitBreaker[uint64](settings)
	tripped = true
	_, _ = opened.Execute(func() (uint64, error) { return 0, fmt.Errorf("asked to fail") })
	tripped = false
	execute := func(breaker *gobreaker.CircuitBreaker[uint64]) func() {
		return func() { _, _ = breaker.Execute(answer) }
	}

	candidates := []*candidate{
		{row: "circuit breaker, closed", name: theirs, call: with(breaker())},
		{row: "circuit breaker, closed", name: sony, call: execute(closed)},
		{row: "circuit breaker, open, refusing", name: theirs, call: with(open)},
		{row: "circuit breaker, open, refusing", name: sony, call: execute(opened)},
		{row: "circuit breaker, closed, time window of 10,000 calls", name: theirs, call: inTime},
		{row: "bulkhead, with room", name: theirs, call: with(roomy)},
		{row: "bulkhead, full, refusing", name: theirs, call: with(full)},
		{row: "retry, first attempt", name: theirs, call: with(retry)},
		{row: "timeout", name: theirs, call: with(timeout.New[uint64](time.Second))},
		{row: "rate limit, below it", name: theirs, call: with(ratelimiter.NewBursty[uint64](1_000_000_000, time.Second))},
		{row: "retry + circuit breaker + bulkhead", name: theirs, call: with(retry, breaker(), roomy)},
	}
	for _, candidate := range candidates {
		candidate.prepare()
	}
	for range rounds {
		for _, candidate := range candidates {
			candidate.round()
		}
	}
	for _, c := range candidates {
		fmt.Printf("%q,%q,%.1f,%.1f,%.2f\n", c.row, c.name, median(c.one), median(c.two), c.allocations)
	}
}
