// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"sync"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
)

// A tunnel asks thousands of names a second. Its first names are told one by
// one, then one a second, then their number.
const (
	burst       = 64               // records at once
	refill      = time.Second      // for one more record
	remembered  = 256              // names that were told
	repeatAfter = time.Minute      // before a remembered name is told again
	summary     = 10 * time.Second // until a count that no record carried is told
)

// refusals bounds the audit records of refused questions. The zero value is
// ready.
type refusals struct {
	mu      sync.Mutex
	started bool
	tokens  int
	filled  time.Time // when tokens was last brought up to date
	told    map[key]time.Time
	count   uint64 // refusals left out since the last record
	timer   *time.Timer
	closed  bool
}

// key is what makes two refusals the same one.
type key struct {
	name   string
	reason audit.Reason
}

// tell records a refusal unless its name was told a moment ago or there are too
// many. A record that cannot be written is counted instead: the refusal itself
// needs no record to take effect.
func (s *Server) tell(record audit.Record) {
	if s.Sink == nil {
		return
	}
	record.Kind, record.Verdict = audit.KindDNS, audit.Deny
	ok, left := s.refusals.take(key{record.Name, record.Reason}, time.Now())
	if !ok {
		s.refusals.arm(s.Sink)
		return
	}
	record.Suppressed = left
	if s.Sink.Write(record) != nil {
		s.refusals.giveBack(left + 1)
		s.refusals.arm(s.Sink)
	}
}

// take reports whether a refusal may be told, and how many were left out
// before it.
func (r *refusals) take(k key, now time.Time) (ok bool, left uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if at, seen := r.told[k]; seen && now.Sub(at) < repeatAfter {
		return false, 0
	}
	r.fill(now)
	if r.tokens == 0 {
		r.count++
		return false, 0
	}
	r.tokens--
	r.remember(k, now)
	left, r.count = r.count, 0
	return true, left
}

func (r *refusals) fill(now time.Time) {
	if !r.started {
		r.started, r.tokens, r.filled = true, burst, now
		r.told = make(map[key]time.Time, remembered)
		return
	}
	if more := int(min(now.Sub(r.filled)/refill, burst)); more > 0 {
		r.tokens = min(r.tokens+more, burst)
		r.filled = now
	}
}

// remember forgets every name when there are too many: the worst is a name told
// twice, and the tokens bound that.
func (r *refusals) remember(k key, now time.Time) {
	if len(r.told) >= remembered {
		clear(r.told)
	}
	r.told[k] = now
}

func (r *refusals) giveBack(n uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count += n
}

// arm makes sure that a count is told even when no other refusal follows.
func (r *refusals) arm(sink audit.Sink) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.timer != nil || r.count == 0 || r.closed {
		return
	}
	r.timer = time.AfterFunc(summary, func() {
		r.mu.Lock()
		r.timer = nil
		r.mu.Unlock()
		if r.flush(sink) != nil {
			r.arm(sink)
		}
	})
}

// flush tells the count alone.
func (r *refusals) flush(sink audit.Sink) error {
	r.mu.Lock()
	count := r.count
	r.count = 0
	r.mu.Unlock()
	if count == 0 || sink == nil {
		return nil
	}
	err := sink.Write(audit.Record{
		Kind: audit.KindDNS, Verdict: audit.Deny, Reason: audit.ReasonRateLimit, Suppressed: count,
	})
	if err != nil {
		r.giveBack(count)
	}
	return err
}

func (r *refusals) close(sink audit.Sink) error {
	r.mu.Lock()
	r.closed = true
	if r.timer != nil {
		r.timer.Stop()
	}
	r.mu.Unlock()
	return r.flush(sink)
}
