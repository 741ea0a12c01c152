// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"runtime"
	"runtime/debug"
	"sync"
	"time"
)

// forgetAfter is when the heap is collected after connections of a generation
// before were closed, each time after the round before: the goroutines that
// served them take a moment to end, on a busy machine a long one, and what pools
// keep goes with the second collection.
var forgetAfter = []time.Duration{50 * time.Millisecond, 150 * time.Millisecond, 300 * time.Millisecond, 400 * time.Millisecond, 5 * time.Second}

// forgetter frees what requests left on the heap of values that are good no
// more; it is overwritten then where GODEBUG has clobberfree=1.
type forgetter struct {
	mu    sync.Mutex
	round int
	timer *time.Timer
}

// begin starts over.
func (f *forgetter) begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.round = 0
	if f.timer == nil {
		f.timer = time.AfterFunc(forgetAfter[0], f.collect)
		return
	}
	f.timer.Reset(forgetAfter[0])
}

func (f *forgetter) collect() {
	// Pools let go of what they keep at the second collection.
	runtime.GC()
	debug.FreeOSMemory()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.round++; f.round < len(forgetAfter) {
		f.timer.Reset(forgetAfter[f.round])
	}
}

// stop is for the end of the session.
func (f *forgetter) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.round = len(forgetAfter)
	if f.timer != nil {
		f.timer.Stop()
	}
}
