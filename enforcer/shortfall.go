// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"sync"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
)

// shortfall counts records that a full log did not take, under `audit: {full:
// drop}`. The zero value is ready.
type shortfall struct {
	mu    sync.Mutex
	count uint64
}

// add counts records, and those that they stand for, and reports whether they
// are the first since the last were told.
func (s *shortfall) add(records []audit.Record) (first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first = s.count == 0
	for _, r := range records {
		s.count += 1 + r.Suppressed
	}
	return first
}

// tell writes the count, if there is one, to a log that takes records again.
func (s *shortfall) tell(log audit.Sink) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count == 0 {
		return nil
	}
	err := log.Write(audit.Record{
		Kind: audit.KindSession, Verdict: audit.Allow, Reason: audit.ReasonAuditFull, Suppressed: s.count,
	})
	if err == nil {
		s.count = 0
	}
	return err
}
