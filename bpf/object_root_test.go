// SPDX-License-Identifier: Apache-2.0

//go:build root

package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

func syntheticSession() Session {
	session := testSession()
	session.Synthetic4 = netip.MustParsePrefix("198.18.0.0/16")
	return session
}

// errno is what a refused call fails with here.
func (r *rig) errno(reason Reason) string {
	if r.object.Legacy() {
		return "EPERM"
	}
	return unix.ErrnoName(reason.Errno())
}

// attached counts the programs that the kernel says hang at the cgroup.
func (r *rig) attached() (n int) {
	r.t.Helper()
	for _, hook := range r.object.hooks() {
		result, err := link.QueryPrograms(link.QueryOptions{Target: int(r.cgroup.Fd()), Attach: hook.attach})
		require(r.t, err)
		n += len(result.Programs)
	}
	return n
}

func TestHooksOutliveTheCollector(t *testing.T) {
	r := newRig(t, Options{})
	r.attach(syntheticSession())
	want := len(r.object.hooks())
	for range 3 {
		runtime.GC()
		if got := r.attached(); got != want {
			t.Fatalf("%d hooks attached after a collection, want %d", got, want)
		}
	}
	if got, _ := r.act("bpf: connect"); got != r.errno(ReasonUndeclared) {
		t.Errorf("connect: %s", got)
	}
	require(t, r.object.CheckSession(r.cookie))
	require(t, r.object.Detach())
	if got := r.attached(); got != 0 {
		t.Errorf("%d hooks attached after Detach", got)
	}
	if err := r.object.CheckSession(r.cookie); err == nil {
		t.Error("a session without hooks is none")
	}
}

func TestDenialIsCountedAndTold(t *testing.T) {
	for _, legacy := range []bool{false, true} {
		t.Run(fmt.Sprintf("legacy %v", legacy), func(t *testing.T) {
			r := newRig(t, Options{Legacy: legacy})
			r.attach(syntheticSession())
			reader, err := r.object.Denials()
			require(t, err)
			defer reader.Close()
			errno, pid := r.act("bpf: connect")
			if want := r.errno(ReasonUndeclared); errno != want {
				t.Errorf("connect: %s, want %s", errno, want)
			}
			denial, err := reader.Read()
			require(t, err)
			want := Denial{
				Netns: r.cookie, Reason: ReasonUndeclared, PID: pid, Comm: "exe", Proto: unix.IPPROTO_TCP,
				Dst: netip.MustParseAddrPort("203.0.113.1:443"), Time: denial.Time,
			}
			if r.object.Legacy() {
				want.Netns = 0
			}
			if denial != want || denial.Time == 0 {
				t.Errorf("told %+v, want %+v", denial, want)
			}
			counts, err := r.object.Counts(r.cookie)
			require(t, err)
			if counts[ReasonUndeclared] != 1 || len(counts) != len(Reasons()) {
				t.Errorf("counts %v", counts)
			}
		})
	}
}

func TestDenialsAreBoundedAndNoneIsForgotten(t *testing.T) {
	const tries, perSecond = 200, 64
	r := newRig(t, Options{})
	r.attach(syntheticSession())
	reader, err := r.object.Denials()
	require(t, err)
	defer reader.Close()
	r.act("bpf: connect 200")
	var ledger redirectLedger
	require(t, r.object.objects.Ledgers.Lookup(r.cookie, &ledger))
	if ledger.Counts[ReasonUndeclared] != tries {
		t.Errorf("counted %d of %d", ledger.Counts[ReasonUndeclared], tries)
	}
	window := ledger.Windows[ReasonUndeclared]
	if window.Told != perSecond || window.Suppressed != tries-perSecond { // 200 refused connects take a few milliseconds
		t.Errorf("window %+v: want %d told", window, perSecond)
	}
	for range perSecond {
		denial, err := reader.Read()
		require(t, err)
		if denial.Suppressed != 0 {
			t.Errorf("told %+v within the limit", denial)
		}
	}
	require(t, r.object.objects.Ledgers.Put(r.cookie, expireWindows(ledger)))
	r.act("bpf: connect")
	denial, err := reader.Read()
	require(t, err)
	if denial.Suppressed != tries-perSecond {
		t.Errorf("told %d suppressed, want %d", denial.Suppressed, tries-perSecond)
	}
}

// expireWindows lets a second pass.
func expireWindows(ledger redirectLedger) *redirectLedger {
	for i := range ledger.Windows {
		ledger.Windows[i].Since = 0
	}
	return &ledger
}

func TestReaderEndsWhenClosed(t *testing.T) {
	r := newRig(t, Options{})
	reader, err := r.object.Denials()
	require(t, err)
	done := make(chan error)
	go func() {
		_, err := reader.Read()
		done <- err
	}()
	require(t, reader.Close())
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("read: %v, want %v", err, ErrClosed)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	r := newRig(t, Options{})
	require(t, r.object.Attach(r.cgroup))
	if got, _ := r.act("bpf: connect"); got != r.errno(ReasonSession) {
		t.Errorf("unknown namespace: %s", got)
	}
	counts, err := r.object.Counts(0)
	require(t, err)
	if counts[ReasonSession] == 0 {
		t.Errorf("counts of strangers: %v", counts)
	}
	require(t, r.object.AddSession(r.cookie, syntheticSession()))
	if got, _ := r.act("bpf: connect"); got != r.errno(ReasonUndeclared) {
		t.Errorf("session: %s", got)
	}
	require(t, r.object.RemoveSession(r.cookie))
	require(t, r.object.RemoveSession(r.cookie))
	if got, _ := r.act("bpf: connect"); got != r.errno(ReasonSession) {
		t.Errorf("removed session: %s", got)
	}
}

func TestStrangersPassWhenShared(t *testing.T) {
	r := newRig(t, Options{Shared: true})
	require(t, r.object.Attach(r.cgroup))
	if got, _ := r.act("bpf: connect"); got != "ENETUNREACH" { // the kernel's own: no route
		t.Errorf("unknown namespace: %s", got)
	}
}

func TestSessionsLeaveNothing(t *testing.T) {
	r := newRig(t, Options{Sessions: 2})
	for range 10 {
		require(t, r.object.AddSession(1, syntheticSession()))
		if err := r.object.AddSession(1, syntheticSession()); !errors.Is(err, ErrSessionExists) {
			t.Errorf("second session of a namespace: %v", err)
		}
		if !r.object.Legacy() {
			require(t, r.object.AddSession(2, syntheticSession()))
			if err := r.object.AddSession(3, syntheticSession()); err == nil {
				t.Error("third session of two: no error")
			}
		} else if err := r.object.AddSession(2, syntheticSession()); !errors.Is(err, ErrSessionExists) {
			t.Errorf("second session of the legacy object: %v", err)
		}
		require(t, r.object.RemoveSession(1))
		require(t, r.object.RemoveSession(2))
	}
	maps := r.object.objects.redirectMaps
	for _, m := range []*ebpf.Map{maps.Sessions, maps.Inflight, maps.Leftovers, maps.Prefixes} {
		if err := m.NextKey(nil, make([]byte, m.KeySize())); !errors.Is(err, ebpf.ErrKeyNotExist) {
			t.Errorf("%s is not empty: %v", m, err)
		}
	}
}

// Connections to a listener that is not there fail after their origin was published.
func TestFailedHandshakesLeaveNothing(t *testing.T) {
	r := newRig(t, Options{})
	r.attach(syntheticSession())
	if got, _ := r.act("bpf: unanswered"); got != "ECONNREFUSED" {
		t.Fatalf("connect: %s", got)
	}
	counts, err := r.object.Counts(r.cookie)
	require(t, err)
	if counts[ReasonRedirect] != 200 || counts[ReasonOrigin] != 0 || counts[ReasonInflight] != 0 {
		t.Errorf("counts %v", counts)
	}
	r.handshakesAreEmpty()
}

func (r *rig) handshakesAreEmpty() {
	r.t.Helper()
	if left := r.handshakesLeft(); len(left) > 0 {
		r.t.Errorf("the in-flight map holds %d handshakes", len(left))
	}
}

// handshakesLeft returns the flows in the session's in-flight map.
func (r *rig) handshakesLeft() (flows [][]byte) {
	r.t.Helper()
	key, err := r.object.key(r.cookie)
	require(r.t, err)
	var id ebpf.MapID
	require(r.t, r.object.objects.Inflight.Lookup(key, &id))
	handshakes, err := ebpf.NewMapFromID(id)
	require(r.t, err)
	defer handshakes.Close()
	var last any
	for {
		flow := make([]byte, handshakes.KeySize())
		err := handshakes.NextKey(last, flow)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return flows
		}
		require(r.t, err)
		flows, last = append(flows, flow), flow
	}
}

// Handshakes beyond the map's size go without an origin and are told; those within keep theirs, and all end.
func TestFullInflightMapIsTold(t *testing.T) {
	const room = 3
	r := newRig(t, Options{})
	r.object.handshakes.MaxEntries = room
	r.attach(syntheticSession())
	reader, err := r.object.Denials()
	require(t, err)
	defer reader.Close()
	if got, _ := r.act("bpf: crowd"); got != "ok" {
		t.Fatalf("crowd: %s", got)
	}
	counts, err := r.object.Counts(r.cookie)
	require(t, err)
	if counts[ReasonRedirect] != 20 || counts[ReasonOrigin] != 1 || counts[ReasonInflight] != 20-1-room {
		t.Errorf("counts %v: want every handshake but %d accounted for", counts, room)
	}
	denial, err := reader.Read()
	require(t, err)
	if denial.Reason != ReasonInflight || denial.Dst.String() != "198.18.0.1:443" {
		t.Errorf("told %+v", denial)
	}
	r.handshakesAreEmpty()
}

func TestOtherOptionsAreTheKernels(t *testing.T) {
	r := newRig(t, Options{})
	r.attach(syntheticSession())
	if got, _ := r.act("bpf: options"); got != "ok" {
		t.Error(got)
	}
}

// The 64-byte answer is what the proxy reads; plain callers get plain addresses.
func TestOriginIsAnswered(t *testing.T) {
	for _, legacy := range []bool{false, true} {
		r := newRig(t, Options{Legacy: legacy})
		r.attach(syntheticSession())
		line, _ := r.act("bpf: origin")
		var pid, cookie uint64
		_, err := fmt.Sscan(line, &pid, &cookie)
		require(t, err)
		sockaddr4 := "0200" + "01bb" + "c6120001" + strings.Repeat("00", 8)
		sockaddr6 := "0a00" + "01bb" + "00000000" + "00000000000000000000ffffc6120001" + "00000000"
		full := sockaddr4 + strings.Repeat("00", 16) + fmt.Sprintf("%x%x%x",
			binary.NativeEndian.AppendUint32(nil, uint32(pid)), make([]byte, 4), binary.NativeEndian.AppendUint64(nil, cookie)) +
			fmt.Sprintf("%x", "exe") + strings.Repeat("00", 13)
		want := fmt.Sprintf("%d %d %s|%s|%s|", pid, cookie, full, sockaddr4, sockaddr6)
		errnos, ok := strings.CutPrefix(line, want)
		if !ok {
			t.Errorf("legacy %v:\ngot  %s\nwant %s", legacy, line, want)
		}
		for errno := range strings.SplitSeq(errnos, "|") { // the kernel's own, which conntrack decides
			if errno != "ENOPROTOOPT" && errno != "ENOENT" && errno != "EINVAL" {
				t.Errorf("legacy %v: a short buffer, or the connecting side, got %s", legacy, errno)
			}
		}
	}
}

// What was refused before is with its reader when the wait for that is over; a wait that nobody ends is given up.
func TestDenialsSettle(t *testing.T) {
	r := newRig(t, Options{})
	r.attach(testSession())
	reader, err := r.object.Denials()
	require(t, err)
	if err := reader.Settle(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("while nobody reads: %v", err)
	}
	if got, _ := r.act("bpf: connect"); got == "ok" {
		t.Fatal("connected")
	}
	told := 0
	go func() {
		for err := error(nil); err == nil; _, err = reader.Read() {
			told++ // and once in the beginning
		}
	}()
	for range 2 {
		require(t, reader.Settle())
		if told != 2 {
			t.Errorf("%d denials were read", told-1)
		}
	}
	require(t, reader.Close())
	if err := reader.Settle(); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
