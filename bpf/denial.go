// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/cilium/ebpf/ringbuf"
)

// Denial is one refusal as the kernel saw it. Everything in it is true of the socket; Comm is chosen by the agent.
type Denial struct {
	Netns      uint64 // cookie; 0 in the legacy object
	Reason     Reason
	PID        uint32         // thread group in the initial pid namespace; of the socket's creator when found in egress; 0 from a guard
	UID        uint32         // in the initial user namespace; 0 from a guard, as Comm is empty
	Comm       string         // at most 15 bytes, untrusted: quote it
	Proto      uint16         // IPPROTO_*; MPTCP is 262; with [ReasonFamily], AF_*
	Dst        netip.AddrPort // invalid address for sock_create; never v4-mapped
	Time       time.Duration  // CLOCK_BOOTTIME
	Path       string         // of a unix socket, as its maker bound it, "@" for the NUL of an abstract one; untrusted, at most 108 bytes
	Suppressed uint32         // further denials of the same session and reason, not told since the last one that was
}

// ErrClosed is what [Reader.Read] returns after [Reader.Close].
var ErrClosed = os.ErrClosed

// Reader reads denials of all sessions of one [Object]. Its methods may be called concurrently.
type Reader struct {
	ring *ringbuf.Reader

	settling sync.Mutex
	settled  chan struct{}
}

// Denials opens the stream of denials. There should be one Reader at a time: two would share it.
func (o *Object) Denials() (*Reader, error) {
	ring, err := ringbuf.NewReader(o.objects.Denials)
	if err != nil {
		return nil, fmt.Errorf("open denials: %w", err)
	}
	return &Reader{ring: ring, settled: make(chan struct{}, 1)}, nil
}

// Read waits for a denial. After Close it returns [ErrClosed].
func (r *Reader) Read() (Denial, error) {
	record, err := r.ring.Read()
	for errors.Is(err, ringbuf.ErrFlushed) { // all before it was read
		select {
		case r.settled <- struct{}{}:
		default: // of a wait that was given up
		}
		record, err = r.ring.Read()
	}
	if err != nil {
		return Denial{}, fmt.Errorf("read denial: %w", err)
	}
	var raw redirectDenial
	if _, err := binary.Decode(record.RawSample, binary.NativeEndian, &raw); err != nil {
		return Denial{}, fmt.Errorf("decode denial of %d bytes: %w", len(record.RawSample), err)
	}
	denial := decodeDenial(&raw)
	if rest := record.RawSample[binary.Size(raw):]; len(rest) > 0 {
		denial.Path = decodePath(rest)
	}
	return denial, nil
}

// decodePath reads what follows the denial in struct unix_denial: a length, and a path that fills all of it only when it
// is abstract.
func decodePath(rest []byte) string {
	const prefix = 4
	if len(rest) < prefix {
		return ""
	}
	length := min(int(binary.NativeEndian.Uint32(rest)), len(rest)-prefix)
	path := rest[prefix : prefix+length]
	if len(path) > 0 && path[0] == 0 {
		return "@" + string(path[1:])
	}
	before, _, _ := bytes.Cut(path, []byte{0})
	return string(before)
}

// settleTime bounds what a log that takes no records can hold up.
const settleTime = time.Second

// Settle returns when whoever reads has read all that was refused before, and has come back for more: it has done with that.
// After a second it returns [os.ErrDeadlineExceeded].
func (r *Reader) Settle() error {
	r.settling.Lock()
	defer r.settling.Unlock()
	select {
	case <-r.settled: // too late for who waited before
	default:
	}
	if err := r.ring.Flush(); err != nil {
		return fmt.Errorf("settle denials: %w", err)
	}
	select {
	case <-r.settled:
		return nil
	case <-time.After(settleTime):
		return fmt.Errorf("settle denials: %w", os.ErrDeadlineExceeded)
	}
}

// Close ends a waiting Read.
func (r *Reader) Close() error { return r.ring.Close() }

func decodeDenial(raw *redirectDenial) Denial {
	denial := Denial{
		Netns:      raw.Netns,
		Reason:     Reason(raw.Reason),
		PID:        raw.Origin.Pid,
		UID:        raw.Origin.Uid,
		Comm:       decodeComm(raw.Origin.Comm),
		Proto:      uint16(raw.Protocol),
		Time:       time.Duration(raw.Time),
		Suppressed: raw.Suppressed,
	}
	// A destination of all zeros with port 0 is one that was never asked for: a socket() call has none.
	if to := decodeAddress(raw.Origin.To); raw.Origin.Port != 0 || !to.IsUnspecified() {
		denial.Dst = netip.AddrPortFrom(to, raw.Origin.Port)
	}
	return denial
}

func decodeComm(raw [16]int8) string {
	var comm [16]byte
	for i, c := range raw {
		comm[i] = byte(c)
	}
	before, _, _ := bytes.Cut(comm[:], []byte{0})
	return string(before)
}
