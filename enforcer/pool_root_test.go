// SPDX-License-Identifier: Apache-2.0

//go:build root

package enforcer

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/bpf"
	"github.com/phantom-ns/phantom-ns/netns"
	"github.com/phantom-ns/phantom-ns/netns/sandbox"
	"github.com/phantom-ns/phantom-ns/proxy/audit"
)

// newRealPool has a pool as a node has it: the process, in its fence.
func newRealPool(t *testing.T) *poolRig {
	t.Helper()
	r := newPoolWorld(t)
	r.restart()
	return r
}

func (r *poolRig) restart() {
	r.t.Helper()
	pool, err := StartPool(r.t.Context(), r.config())
	if err != nil {
		r.t.Fatal(err)
	}
	r.pool = pool
	r.t.Cleanup(func() { pool.Close() })
}

// sealed is a namespace with a session's sockets, as a sealed container's.
type sealed struct {
	ns        *netns.Namespace
	listeners *sandbox.Listeners
}

func newSealed(t *testing.T) *sealed {
	t.Helper()
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	l, err := sandbox.Listen(ns, sandbox.ListenSpec{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	steer, err := bpf.LoadSteer()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { steer.Close() })
	tcp4, err := Descriptor(l.TCP4)
	if err != nil {
		t.Fatal(err)
	}
	tcp6, err := Descriptor(l.TCP6)
	if err == nil {
		err = steer.Attach(ns.FD(), netns.OwnAddr4, netns.OwnAddr6, tcp4, tcp6)
	}
	if err != nil {
		t.Fatal(err)
	}
	return &sealed{ns, l}
}

// startIn serves a session in a namespace.
func (r *poolRig) startIn(box *sealed, id, name string, facts PolicyFacts) *poolSession {
	r.t.Helper()
	err := r.pool.AddSession(SessionConfig{
		ID: id, Policy: name, Hostname: id, Listeners: box.listeners, Own4: netns.OwnAddr4, Own6: netns.OwnAddr6,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	s := &poolSession{rig: r, id: id, facts: facts, tcp: "198.18.0.1:443", stub: "9.9.9.9:53", do: box.ns.Do}
	if got := s.lookup(poolHost); got != "198.18.0.1" {
		r.t.Fatalf("%s is %s", poolHost, got)
	}
	return s
}

// S2, S5: one fenced process serves the namespaces of several sessions, each
// with its own policy's credential.
func TestS2OneProcessServesNamespaces(t *testing.T) {
	r := newRealPool(t)
	one, other := r.add("one", oneKey, PolicyFacts{}), r.add("other", otherKey, PolicyFacts{})
	a, b := r.startIn(newSealed(t), "a", "one", one), r.startIn(newSealed(t), "b", "other", other)
	for _, test := range []struct {
		s      *poolSession
		facts  PolicyFacts
		status int
		real   string
	}{{a, one, 200, oneKey}, {b, other, 200, otherKey}, {a, other, 403, ""}, {b, one, 403, ""}} {
		status, body, err := test.s.ask(test.facts.Placeholders["key"])
		if err != nil || status != test.status || strings.Contains(body, "real") {
			t.Errorf("session %s: %d %q, %v", test.s.id, status, body, err)
		}
		if got := r.last().Header.Get("Authorization"); test.real != "" && got != "Bearer "+test.real {
			t.Errorf("session %s: the upstream got %q", test.s.id, got)
		}
	}
	for _, id := range []string{"a", "b"} {
		verdicts := []audit.Verdict{}
		for _, record := range r.recordsOf(id, 2) {
			verdicts = append(verdicts, record.Verdict)
		}
		if slices.Sort(verdicts); !slices.Equal(verdicts, []audit.Verdict{audit.Allow, audit.Deny}) {
			t.Errorf("session %s has records of %q", id, verdicts)
		}
	}
	r.write("one.key", "new-real-0123456789abcdefABCDEFghijkl")
	if _, err := r.pool.ReloadPolicy(t.Context(), "one", r.policyFile("one", "")); err != nil {
		t.Fatal(err)
	}
	if status, _, err := a.ask(one.Placeholders["key"]); err != nil || status != 200 {
		t.Errorf("after a reload: %d, %v", status, err)
	}
	if got := r.last().Header.Get("Authorization"); got != "Bearer new-real-0123456789abcdefABCDEFghijkl" {
		t.Errorf("after a reload the upstream got %q", got)
	}
	checkPoolProcess(t, r.pool.PID())
}

// P1, P2, P13: the pool's process has the posture of a session's proxy.
func checkPoolProcess(t *testing.T, pid int) {
	t.Helper()
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil || len(tasks) == 0 {
		t.Fatalf("%d threads: %v", len(tasks), err)
	}
	for _, task := range tasks {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/status", pid, task.Name()))
		if err == nil {
			err = checkStatus(string(status), confined(0))
		}
		if err != nil {
			t.Errorf("thread %s: %v", task.Name(), err)
		}
		for line := range strings.Lines(string(status)) {
			if ids, ok := strings.CutPrefix(line, "Uid:"); ok && slices.Contains(strings.Fields(ids), "0") {
				t.Errorf("thread %s is root: %s", task.Name(), ids)
			}
		}
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil || !strings.Contains(string(limits), "Max core file size        0                    0 ") {
		t.Errorf("limits of the process: %s%v", limits, err)
	}
}

// O5: when the process is killed, connections that began wait or are refused and
// none is open; the next one serves the same namespaces with the same
// placeholders and authority.
func TestO5KilledPoolIsStartedAgain(t *testing.T) {
	r := newRealPool(t)
	one := r.add("one", oneKey, PolicyFacts{})
	box := newSealed(t)
	a := r.startIn(box, "a", "one", one)
	open, err := a.dial()
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(r.pool.PID(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-r.pool.Exited()
	if _, err := open.Read(make([]byte, 1)); err == nil {
		t.Error("a connection outlives the process")
	}
	if err := r.pool.RemoveSession("a"); !errors.Is(err, ErrProxyDied) {
		t.Errorf("a pool that was killed answers %v", err)
	}
	if err := r.pool.Close(); err != nil {
		t.Error(err)
	}
	r.restart()
	if again := r.add("one", oneKey, one); again.Placeholders["key"] != one.Placeholders["key"] {
		t.Error("another placeholder")
	}
	a = r.startIn(box, "a", "one", one)
	if status, _, err := a.ask(one.Placeholders["key"]); err != nil || status != 200 {
		t.Errorf("after the restart: %d, %v", status, err)
	}
	box.listeners.Close()
	if err := r.pool.RemoveSession("a"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.dial(); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("without a listener: %v", err)
	}
}

// idleSessions is how many the scale is measured with; idleBytes, what one may
// take of the pool: the issue gives 256 KiB to pool and daemon.
const (
	idleSessions = 1000
	idleBytes    = 128 << 10
)

// Memory of idle sessions, each with six listeners, and the time to add one.
func TestIdleSessionsAreSmall(t *testing.T) {
	r := newRealPool(t)
	facts := r.add("one", oneKey, PolicyFacts{})
	r.start("warm", "one", facts)
	before := residentOf(t, r.pool.PID())
	var took []time.Duration
	for i := range idleSessions {
		l := loopbackListeners(t)
		began := time.Now()
		err := r.pool.AddSession(SessionConfig{
			ID: fmt.Sprint("idle", i), Policy: "one", Hostname: "idle", Listeners: l,
			Own4: netip.MustParseAddr("198.18.255.1"), Own6: netip.MustParseAddr("fd70:6861:6e74::1"),
		})
		took = append(took, time.Since(began))
		l.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	each := (residentOf(t, r.pool.PID()) - before) / idleSessions
	t.Logf("an idle session takes %d KiB of the pool; the first 100 were added in %v each, the last in %v",
		each>>10, median(took[:100]), median(took[len(took)-100:]))
	if each > idleBytes {
		t.Errorf("an idle session takes %d bytes", each)
	}
	last := r.startIn(newSealed(t), "last", "one", facts)
	if status, _, err := last.ask(facts.Placeholders["key"]); err != nil || status != 200 {
		t.Errorf("beside %d others: %d, %v", idleSessions, status, err)
	}
	for i := range idleSessions {
		if err := r.pool.RemoveSession(fmt.Sprint("idle", i)); err != nil {
			t.Fatal(err)
		}
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", r.pool.PID()))
	if err != nil || len(files) > 40 {
		t.Errorf("%d descriptors are left when all have ended, %v", len(files), err)
	}
}

func median(all []time.Duration) time.Duration {
	all = slices.Clone(all)
	slices.Sort(all)
	return all[len(all)/2]
}

// residentOf is a process's memory in bytes, what it shares counted in parts.
func residentOf(t *testing.T, pid int) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		var kib int
		if n, _ := fmt.Sscanf(line, "Pss: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	t.Fatal("no Pss")
	return 0
}
