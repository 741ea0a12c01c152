// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A lease is the right to replace one stored credential that is traded in for
// the next, as refresh tokens are: whoever has it reads the credential, and may
// write another. The helper holds it, with a lock on NAME.lease beside the
// store, for as long as its pipes are open:
//
//	helper                                  proxy
//	   │  locks NAME.lease, reads the store   │
//	   ├─ reply {ok, …, length} value ───────▶│ trades it in, or uses what is new
//	   │◀──── update {ok, length} value, EOF ─┤ or EOF alone: nothing to write
//	   │  replaces the entry, if it is still the one that was read
//	   ├─ ack {ok} or {error} ───────────────▶│

// The helper's further descriptors, for a lease.
const (
	UpdateFD = 6 // a pipe's read end
	AckFD    = 7 // a pipe's write end
)

// leaseTimeout is longer than any exchange of a token, two in a row included.
const leaseTimeout = 75 * time.Second

// ErrChanged is an entry that somebody has set since the lease read it: theirs
// counts.
var ErrChanged = errors.New("the stored credential was replaced by another")

// Terms ask for a lease in place of a fetch. Where the store has no such entry,
// one is made with these, if Create is set.
type Terms struct {
	Create   bool     `json:"create,omitempty"`
	Hosts    []string `json:"hosts,omitempty"`
	Provider string   `json:"provider,omitempty"`
}

// grant is the helper's side.
func (s *Store) grant(ctx context.Context, name string, terms Terms, answer io.WriteCloser, update io.Reader, ack io.Writer) error {
	locked := make(chan *os.File, 1)
	_, err := within(ctx, func() (Entry, error) {
		f, err := s.lockLease(name, terms.Create)
		locked <- f // one that comes too late goes with the helper
		return Entry{}, err
	})
	if err == nil {
		lock := <-locked
		defer lock.Close()
	}
	var e Entry
	if err == nil {
		e, err = s.Get(name)
		defer e.Value.Wipe()
	}
	if terms.Create && errors.Is(err, ErrAbsent) {
		e = Entry{Hosts: terms.Hosts, Provider: terms.Provider}
	}
	if werr := errors.Join(writeReply(answer, e, err), answer.Close()); werr != nil || err != nil && !(terms.Create && errors.Is(err, ErrAbsent)) {
		return werr
	}
	next, err := readUpdate(update)
	if err != nil || next.Len() == 0 {
		return err
	}
	defer next.Wipe()
	err = s.trade(name, e, next)
	line := reply{OK: err == nil}
	if err != nil {
		line.Error = oneLine(err.Error(), maxRefusal)
	}
	return writeHeader(ack, line, maxHeader)
}

// lockLease takes the lock of one name.
func (s *Store) lockLease(name string, create bool) (*os.File, error) {
	if !storeName().MatchString(name) {
		return nil, ErrAbsent
	}
	dir, err := openDirectory(s.directory)
	if create && errors.Is(err, os.ErrNotExist) {
		dir, err = makeDirectory(s.directory)
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	f, err := openAt(dir, name+".lease", unix.O_RDWR|unix.O_CREAT)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %q: %w", f.Name(), err)
	}
	return f, nil
}

// readUpdate returns the empty Value where the other side has nothing to write.
func readUpdate(r io.Reader) (Value, error) {
	var first [1]byte
	if _, err := io.ReadFull(r, first[:]); err == io.EOF {
		return Value{}, nil
	} else if err != nil {
		return Value{}, fmt.Errorf("read update: %w", err)
	}
	r = io.MultiReader(bytes.NewReader(first[:]), r)
	var h reply
	if err := readHeader(r, &h, maxHeader); err != nil {
		return Value{}, fmt.Errorf("read update: %w", err)
	}
	v, err := readBody(r, h.Length)
	if err == nil {
		err = readEnd(r)
	}
	if err == nil {
		err = Check(v)
	}
	if err != nil {
		v.Wipe()
		return Value{}, fmt.Errorf("read update: %w", err)
	}
	return v, nil
}

// trade replaces the value of an entry that is still the one that was read.
func (s *Store) trade(name string, was Entry, next Value) error {
	return s.wrap("update", name, s.change(was.Value.Len() == 0, func(entries map[string]Entry) error {
		now, there := entries[name]
		if there != (was.Value.Len() > 0) || there && subtle.ConstantTimeCompare(now.Value.Reveal(), was.Value.Reveal()) != 1 {
			return ErrChanged
		}
		if !there {
			now = was
			now.Created = time.Now().UTC().Truncate(time.Second)
		}
		now.Value = next
		if err := checkEntry(name, now); err != nil {
			return err
		}
		entries[name] = now
		return nil
	}))
}

// Lease is the proxy's side: the other ends of the helper's pipes.
type Lease struct {
	Reply, Update, Ack *os.File
	entry              Entry
	read               bool
}

// SetDeadline bounds all that follows.
func (l *Lease) SetDeadline(t time.Time) {
	for _, f := range []*os.File{l.Reply, l.Update, l.Ack} {
		_ = f.SetDeadline(t) // where a pipe takes none, the helper has its own
	}
}

// Value is the credential as it is stored. It waits for whoever has the lease.
// It is the Lease's to wipe.
func (l *Lease) Value() (Value, error) {
	if l.read {
		return l.entry.Value, nil
	}
	e, err := ReadReply(l.Reply)
	if err != nil {
		return Value{}, err
	}
	l.entry, l.read = e, true
	return e.Value, nil
}

// Save replaces the stored value. After nil a crash leaves the new one, and any
// before leaves the old or the new.
func (l *Lease) Save(v Value) error {
	body := v.Reveal()
	if err := writeFrame(l.Update, reply{OK: true, Length: len(body)}, body); err != nil {
		return fmt.Errorf("save credential: %w", err)
	}
	if err := l.Update.Close(); err != nil {
		return fmt.Errorf("save credential: %w", err)
	}
	var line reply
	if err := readHeader(l.Ack, &line, maxHeader); err != nil {
		return fmt.Errorf("save credential: %w", err)
	}
	if !line.OK {
		return fmt.Errorf("save credential: %w", &Refusal{oneLine(line.Error, maxRefusal)})
	}
	return nil
}

// Close gives the lease back.
func (l *Lease) Close() error {
	l.entry.Value.Wipe()
	for _, f := range []*os.File{l.Reply, l.Update, l.Ack} {
		f.Close() // Save may have closed one
	}
	return nil
}

// serveLease is the helper's work for a request with Terms.
func serveLease(q Request, answer io.WriteCloser) error {
	update, ack := os.NewFile(UpdateFD, "update"), os.NewFile(AckFD, "ack")
	defer update.Close()
	defer ack.Close()
	ctx, cancel := context.WithTimeoutCause(context.Background(), leaseTimeout, timeout{leaseTimeout})
	defer cancel()
	// A proxy that was stopped holds its pipes open.
	time.AfterFunc(2*leaseTimeout, func() { os.Exit(125) })
	if q.Ref.kind != KindStore {
		return writeReply(answer, Entry{}, ErrUnsupported)
	}
	s, err := q.Env.open()
	if err != nil {
		return writeReply(answer, Entry{}, err)
	}
	return s.grant(ctx, q.Ref.args[0], *q.Terms, answer, update, ack)
}
