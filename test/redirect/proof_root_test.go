// SPDX-License-Identifier: Apache-2.0

//go:build root

package redirect

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/phantom-ns/phantom-ns/bpf"
	"github.com/phantom-ns/phantom-ns/netns"
)

const threads = 4

// connectionsVariable says how many connections are made in each mode, on machines that emulate; see the package's page.
const connectionsVariable = "REDIRECT_CONNECTIONS"

// connections is how many connections are made in each mode. The flood over a few source ports (R11) makes five eighths
// of it, 50,000.
func connections(t *testing.T) int {
	t.Helper()
	text, given := os.LookupEnv(connectionsVariable)
	if !given {
		return 80_000
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 8*threads || n%threads != 0 {
		t.Fatalf("%s=%q: want a multiple of %d from %d", connectionsVariable, text, threads, 8*threads)
	}
	return n
}

// everything is declared, so that each destination the client makes up is redirected.
var everything = []string{"0.0.0.0/0", "::/0"}

// report is what the connecting side saw.
type report struct{ sent, failed, peer int64 }

func (w *world) connect(mode string, total int) report {
	w.t.Helper()
	binary := must(client())(w.t)
	out := w.output(w.command(binary, mode, strconv.Itoa(threads), strconv.Itoa(total/threads)))
	var r report
	if _, err := fmt.Sscanf(out, "sent %d failed %d peer %d", &r.sent, &r.failed, &r.peer); err != nil {
		w.t.Fatalf("client printed %q: %v", out, err)
	}
	return r
}

// run makes connections in one mode and returns both sides' counts. The two last connections, one to each listener, wait
// until they have been judged, and so have all before them.
func (a *acceptor) run(mode string, total int) (report, *tally) {
	a.w.t.Helper()
	start := time.Now()
	c := &tally{}
	a.tally.Store(c)
	r := a.w.connect(mode, total)
	binary := must(client())(a.w.t)
	a.w.output(a.w.command(binary, "plain", "1", "1"))
	a.w.output(a.w.command(binary, "v6", "1", "1"))
	fmt.Printf("%-17s %v | sent %d failed %d getpeername differs %d | %v\n",
		mode, c, r.sent, r.failed, r.peer, time.Since(start).Round(time.Millisecond))
	return r, c
}

// fastOpen lets every SYN carry data: client, server, without cookies, for all listeners (ip-sysctl.rst, tcp_fastopen).
func (w *world) fastOpen() {
	w.t.Helper()
	const bits = 0x1 | 0x2 | 0x4 | 0x200 | 0x400
	check(w.t, w.ns.Do(func() error {
		return os.WriteFile("/proc/sys/net/ipv4/tcp_fastopen", []byte(strconv.Itoa(bits)), 0)
	}))
}

func TestEveryConnectionHasItsOrigin(t *testing.T) {
	connections := connections(t)
	w := newWorld(t, everything...)
	w.fastOpen()
	a := newAcceptor(w)
	for _, mode := range []string{"plain", "nonblock", "fastopen", "fastopen-connect", "v6", "mapped"} {
		t.Run(mode, func(t *testing.T) {
			runtime.GC() // a link that nothing refers to would go now
			r, c := a.run(mode, connections)
			c.clean(t)
			if want := (report{sent: int64(connections)}); r != want {
				t.Errorf("client: %+v, want %+v", r, want)
			}
			if got := c.accepted.Load(); got != int64(connections)+2 || c.steered.Load() != 0 || c.silent.Load() != 0 {
				t.Errorf("%v: want %d accepted, all by the hooks", c, connections+2)
			}
		})
	}
	w.noOrphans(t)
}

// A new attempt from the same source port may begin before the old one's last packets are processed.
func TestSourcePortReuseConfusesNothing(t *testing.T) {
	connections := connections(t)
	w := newWorld(t, everything...)
	a := newAcceptor(w)
	for _, test := range []struct {
		mode  string
		total int
	}{{"reset", connections}, {"flood", connections / 8 * 5}} {
		t.Run(test.mode, func(t *testing.T) {
			runtime.GC()
			r, c := a.run(test.mode, test.total)
			c.clean(t)
			if r.failed != 0 || c.steered.Load() != 0 {
				t.Errorf("client: %+v; %v", r, c)
			}
		})
	}
	w.noOrphans(t)
}

// noOrphans checks with the kernel half's own books that each redirect found its accepted socket.
func (w *world) noOrphans(t *testing.T) {
	t.Helper()
	counts := must(w.object.Counts(w.cookie))(t)
	fmt.Printf("%-17s %v\n", "counts", counts)
	for _, reason := range []bpf.Reason{bpf.ReasonOrphan, bpf.ReasonInflight, bpf.ReasonStorage, bpf.ReasonUndeclared} {
		if counts[reason] != 0 {
			t.Errorf("%v: %d, want 0", reason, counts[reason])
		}
	}
}

func TestSecondLayerTakesOver(t *testing.T) {
	connections := connections(t)
	for _, mode := range []string{"plain", "nonblock", "fastopen", "fastopen-connect", "v6", "mapped"} {
		t.Run(mode, func(t *testing.T) {
			w := newWorld(t, everything...)
			w.fastOpen()
			steer := must(bpf.LoadSteer())(t)
			t.Cleanup(func() { check(t, steer.Close()) })
			check(t, steer.Attach(w.ns.FD(), netns.OwnAddr4, netns.OwnAddr6, w.listeners[0], w.listeners[1]))
			a := newAcceptor(w)
			detached := make(chan error, 1)
			a.notify.Store(new(func(accepted int64) {
				if accepted == int64(connections/2) {
					go func() { detached <- w.object.Detach() }()
					runtime.GC()
				}
			}))
			_, c := a.run(mode, connections)
			check(t, <-detached)
			if c.wrong.Load() != 0 {
				t.Errorf("%v: want 0 wrong", c)
			}
			if c.steered.Load() == 0 || c.steered.Load() == c.accepted.Load() {
				t.Errorf("%v: want both layers to have worked", c)
			}
			if lost := c.missing.Load(); lost > threads { // accepted, but no longer answered for
				t.Errorf("%v: more missing than were in flight", c)
			}
		})
	}
}
