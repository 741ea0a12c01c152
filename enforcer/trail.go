// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/phantom-ns/phantom-ns/bpf"
	"github.com/phantom-ns/phantom-ns/proxy/audit"
)

// Trail writes a session's records into its log, less refusals that are too
// many. It is safe for concurrent use.
type Trail struct {
	Log     *audit.Log
	Drops   bool            // with `audit: {full: drop}`: what a full log does not take is counted
	Closing <-chan struct{} // closed when nobody waits for a full log any more
	Logger  *slog.Logger

	refusals throttle
	dropped  shortfall
}

// auditRetry is how long a record waits before it is offered again to a log
// that could not take it.
const auditRetry = time.Second

// Record writes records, all or none. While the log is full it keeps at it: the
// pipe fills behind it and requests wait, which is what `audit: {full: block}`
// asks for. With `drop`, or when the session ends meanwhile, the records are
// counted, and the count told when the log takes records again.
func (t *Trail) Record(records ...audit.Record) error {
	told := false
	for ending := t.Drops; ; {
		err := t.dropped.tell(t.Log)
		if err == nil {
			err = t.Log.WriteAll(records)
		}
		if err == nil || errors.Is(err, os.ErrClosed) || errors.Is(err, audit.ErrRecord) {
			return err
		}
		if ending {
			if t.dropped.add(records) {
				t.Logger.Error("audit log takes no records; they are left out", "error", err)
			}
			return nil
		}
		if !told {
			t.Logger.Error("audit log takes no records; requests wait", "error", err)
			told = true
		}
		select {
		case <-t.Closing:
			ending = true
		case <-time.After(auditRetry):
		}
	}
}

// RecordThinned writes what is left of the records of a proxy.
func (t *Trail) RecordThinned(records []audit.Record) error {
	if records = t.refusals.thin(records, time.Now()); len(records) == 0 {
		return nil
	}
	return t.Record(records...)
}

// RecordDenial writes what the kernel half refused.
func (t *Trail) RecordDenial(d bpf.Denial) error { return t.Record(denialRecord(d)) }

// Rest tells what was counted and not told, at the end of the session.
func (t *Trail) Rest() error {
	return errors.Join(t.Log.WriteAll(t.refusals.rest()), t.dropped.tell(t.Log))
}
