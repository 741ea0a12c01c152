// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"sync"
	"time"
)

// receipt counts the records of a pool that were handed on.
type receipt struct {
	mu    sync.Mutex
	count uint64
	grown chan struct{} // closed, and another, each time
}

func newReceipt() *receipt { return &receipt{grown: make(chan struct{})} }

func (r *receipt) add(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count += uint64(n)
	close(r.grown)
	r.grown = make(chan struct{})
}

func (r *receipt) look() (count uint64, grown <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count, r.grown
}

// reaches waits until so many were handed on, or ended is closed, behind the
// last; false: within has passed.
func (r *receipt) reaches(count uint64, ended <-chan struct{}, within time.Duration) bool {
	late := time.NewTimer(within)
	defer late.Stop()
	for {
		have, grown := r.look()
		if have >= count {
			return true
		}
		select {
		case <-grown:
		case <-ended:
			return true
		case <-late.C:
			return false
		}
	}
}
