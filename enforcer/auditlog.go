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
)

// AuditPath is the audit log. The supervisor is its only writer: a proxy that
// fell could not take back what it had sent.
const AuditPath = "/var/log/phantom-ns/audit.jsonl"

func openAudit(id string) (*audit.Log, error) {
	if err := makeAuditDir(); err != nil {
		return nil, err
	}
	return audit.Open(AuditPath, id)
}

// OpenAudit opens the audit log for a process that has several sessions.
func OpenAudit() (*audit.File, error) {
	if err := makeAuditDir(); err != nil {
		return nil, err
	}
	return audit.OpenFile(AuditPath)
}

func makeAuditDir() error {
	if err := os.MkdirAll(filepath.Dir(AuditPath), 0o750); err != nil {
		return fmt.Errorf("make audit directory: %w", err)
	}
	return nil
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
	err := collectRecords(pipe, s.closing, func(records []audit.Record) error {
		s.tally.add(records)
		return s.trail.RecordThinned(records)
	})
	if err != nil {
		s.config.Logger.Error("proxy's audit records", "error", err)
	}
}

// collectRecords hands on what comes out of pipe, until its end. Closing the
// pipe ends the proxy: one that sends what is no record is broken, or no longer
// ours.
func collectRecords(pipe io.ReadCloser, closing <-chan struct{}, take func([]audit.Record) error) error {
	defer pipe.Close()
	decoder := audit.NewDecoder(pipe)
	timer := time.NewTimer(gatherTime)
	defer timer.Stop()
	for {
		records, err := decoder.ReadAll(gatherRecords)
		if failed := take(records); failed != nil {
			err = failed
		}
		if errors.Is(err, io.EOF) || errors.Is(err, os.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		timer.Reset(gatherTime)
		select {
		case <-timer.C:
		case <-closing:
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
			s.tally.add([]audit.Record{denialRecord(d)})
			if err := s.trail.RecordDenial(d); err != nil {
				return
			}
		}
	}()
	s.undo.push(func() error {
		if err := s.kernel.denials.Settle(); err != nil {
			s.config.Logger.Warn("last refusals of the kernel", "error", err)
		}
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
	switch d.Reason {
	case bpf.ReasonUnix:
		r.Proto, r.Path = "unix", d.Path
	case bpf.ReasonFamily:
		r.Proto = "family " + strconv.Itoa(int(d.Proto))
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
