// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/bpf"
	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// AuditPath is the audit log. The supervisor is its only writer: a proxy that
// fell could not take back what it had sent.
const AuditPath = "/var/log/phantom-ns/audit.jsonl"

func openAudit(id string) (*audit.Log, error) {
	if err := os.MkdirAll(filepath.Dir(AuditPath), 0o750); err != nil {
		return nil, fmt.Errorf("make audit directory: %w", err)
	}
	return audit.Open(AuditPath, id)
}

// auditRetry is how long a record waits before it is offered again to a log
// that could not take it.
const auditRetry = time.Second

// record writes records, all or none. While the log is full it keeps at it: the
// pipe fills behind it and requests wait, which is what `audit: {full: block}`
// asks for. With `drop`, or when the session ends meanwhile, the records are
// counted, and the count told when the log takes records again.
func (s *Session) record(records ...audit.Record) error {
	told := false
	for ending := s.dropsRecords(); ; {
		err := s.dropped.tell(s.log)
		if err == nil {
			err = s.log.WriteAll(records)
		}
		if err == nil || errors.Is(err, os.ErrClosed) || errors.Is(err, audit.ErrRecord) {
			return err
		}
		if ending {
			if s.dropped.add(records) {
				s.config.Logger.Error("audit log takes no records; they are left out", "error", err)
			}
			return nil
		}
		if !told {
			s.config.Logger.Error("audit log takes no records; requests wait", "error", err)
			told = true
		}
		select {
		case <-s.closing:
			ending = true
		case <-time.After(auditRetry):
		}
	}
}

func (s *Session) dropsRecords() bool {
	return s.config.Policy != nil && s.config.Policy.AuditFull == policy.AuditDrop
}

// recordRest tells what was counted and not told, at the end of the session.
func (s *Session) recordRest() error {
	return errors.Join(s.log.WriteAll(s.refusals.rest()), s.dropped.tell(s.log))
}

// Records of a busy proxy are written together: to be woken for each of them
// and to lock the log for it would cost a quarter of a request. A record is in
// the pipe, which outlives the proxy, before its request counts as done.
const (
	gatherTime    = 2 * time.Millisecond
	gatherRecords = 128
)

// collect copies the proxy's records into the log until the pipe ends, less
// refusals that are too many.
func (s *Session) collect(pipe io.ReadCloser) {
	defer pipe.Close()
	decoder := audit.NewDecoder(pipe)
	timer := time.NewTimer(gatherTime)
	defer timer.Stop()
	for {
		records, err := decoder.ReadAll(gatherRecords)
		s.tally.add(records)
		if records = s.refusals.thin(records, time.Now()); len(records) > 0 {
			if failed := s.record(records...); failed != nil {
				err = failed
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			// Closing the pipe ends the proxy: one that sends what is no
			// record is broken, or no longer ours.
			s.config.Logger.Error("proxy's audit records", "error", err)
			return
		}
		timer.Reset(gatherTime)
		select {
		case <-timer.C:
		case <-s.closing:
		}
	}
}

// watchDenials writes what the kernel half refuses into the log.
func (s *Session) watchDenials() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			d, err := s.kernel.denials.Read()
			if err != nil {
				return
			}
			r := denialRecord(d)
			s.tally.add([]audit.Record{r})
			if err := s.record(r); err != nil {
				return
			}
		}
	}()
	s.undo.push(func() error {
		err := s.kernel.denials.Close()
		<-done
		return err
	})
}

func denialRecord(d bpf.Denial) audit.Record {
	r := audit.Record{
		Kind: audit.KindDenied, Verdict: audit.Deny, Reason: audit.Reason(d.Reason.String()),
		PID: d.PID, UID: d.UID, Comm: d.Comm, Proto: protocolName(d.Proto),
		Port: d.Dst.Port(), Suppressed: uint64(d.Suppressed),
	}
	if d.Dst.Addr().IsValid() && !d.Dst.Addr().IsUnspecified() {
		r.Address = d.Dst.Addr().Unmap().String()
	}
	return r
}

// protocolName is what a record calls an IP protocol.
func protocolName(number uint16) string {
	switch number {
	case unix.IPPROTO_TCP:
		return "tcp"
	case unix.IPPROTO_UDP:
		return "udp"
	case unix.IPPROTO_MPTCP:
		return "mptcp"
	}
	return strconv.Itoa(int(number))
}
