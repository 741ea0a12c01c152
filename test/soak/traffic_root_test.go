// SPDX-License-Identifier: Apache-2.0

//go:build root

package soak

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// settling is how long connections may take to end, and the kernel to free what
// belonged to them.
const settling = 20 * time.Second

// TestO9TrafficLeavesNothing makes traffic of every kind through one session: its
// processes have as many descriptors as before, its maps as many entries, and
// their memory has stopped growing.
func TestO9TrafficLeavesNothing(t *testing.T) {
	seconds := number(t, "SOAK_SECONDS", 60)
	w := rig.New(t)
	load := buildLoad(t, w)
	key := rig.Canary(t, "")
	hosts := serve(t, w)
	w.Run(rig.Session{Args: []string{"true"}}) // what the first session makes once
	before := rig.Snapshot(t)
	wait, orders := io.Pipe()
	said, says := io.Pipe()
	p := w.Start(rig.Session{
		Policy: policy + hosts, Env: []string{"SOAK_KEY=" + key}, Args: []string{load}, Stdin: wait, Stdout: says,
		Timeout: time.Duration(seconds)*time.Second*2 + 5*time.Minute,
	})
	t.Cleanup(func() { said.Close(); orders.Close() })
	answers := bufio.NewScanner(said)
	drive := func(seconds int) {
		fmt.Fprintln(orders, seconds)
		answers.Scan()
		if rounds, err := strconv.Atoi(answers.Text()); err != nil || rounds == 0 {
			t.Fatalf("got %q", answers.Text())
		}
		t.Logf("%s rounds in %d s", answers.Text(), seconds)
	}
	drive(max(1, seconds/6))
	first := settle(t, p.Process.Pid, holding{})
	drive(seconds)
	last := settle(t, p.Process.Pid, first)
	if more := last.moreThan(first); len(more) > 0 {
		t.Errorf("held after traffic: %v", more)
	}
	for name, kib := range last.memory {
		t.Logf("%s: %d KiB, then %d", name, first.memory[name], kib)
		if kib > first.memory[name]*3/2+16<<10 {
			t.Errorf("%s grew from %d to %d KiB", name, first.memory[name], kib)
		}
	}
	orders.Close()
	if r := p.Wait(); r.Exit != 0 || strings.Contains(r.Stdout+r.Stderr, key) {
		t.Errorf("got %v", r)
	}
	if left := rig.Leftovers(t, before); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func buildLoad(t *testing.T, w *rig.World) string {
	t.Helper()
	built := filepath.Join(t.TempDir(), "load")
	if err := rig.GoBuild(built, "./test/soak/load"); err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(built)
	if err != nil {
		t.Fatal(err)
	}
	w.Give(rig.Home+"/load", program, 0o755)
	return rig.Home + "/load"
}

// serve starts an upstream that keeps nothing of what it is sent, and returns
// the policy's lines about it.
func serve(t *testing.T, w *rig.World) string {
	t.Helper()
	ca, err := rig.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	pem := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(pem, ca.PEM, 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := w.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		Handler: http.HandlerFunc(answer), ErrorLog: log.New(io.Discard, "", 0),
		IdleTimeout: time.Second, // so that the session's connections end too
		TLSConfig: &tls.Config{NextProtos: []string{"h2", "http/1.1"}, GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return ca.Leaf(h.ServerName)
		}},
	}
	t.Cleanup(func() { server.Close() })
	go server.ServeTLS(l, "", "")
	var lines strings.Builder
	lines.WriteString("hosts:\n")
	for _, host := range []string{"api.soak.test", "docs.soak.test"} {
		fmt.Fprintf(&lines, "  %q: {connect: %q, ca: %q}\n", host, l.Addr(), pem)
	}
	return lines.String()
}

func answer(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/echo":
		io.Copy(w, r.Body)
	case "/slow":
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	case "/ws":
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
		frame := make([]byte, 8)
		if _, err := io.ReadFull(rw, frame); err == nil {
			conn.Write([]byte{0x81, 2, frame[6] ^ frame[2], frame[7] ^ frame[3]})
		}
	}
}

// holding is what a session holds.
type holding struct {
	counts map[string]int // goroutines and descriptors (by kind) of each process, entries of each map
	memory map[string]int // KiB, by process
}

// moreThan lists what there is more of than before. What was still ending before
// may be less.
func (h holding) moreThan(before holding) (more []string) {
	for name, count := range h.counts {
		if had := before.counts[name]; count > had {
			more = append(more, fmt.Sprintf("%s: %d, then %d", name, had, count))
		}
	}
	return more
}

// settle takes stock when what is there no longer changes, or is no more than was
// there before.
func settle(t *testing.T, supervisor int, before holding) holding {
	t.Helper()
	last := take(t, supervisor)
	for end := time.Now().Add(settling); time.Now().Before(end); {
		if before.counts != nil && len(last.moreThan(before)) == 0 {
			break
		}
		time.Sleep(2 * time.Second)
		now := take(t, supervisor)
		if before.counts == nil && cmp.Equal(now.counts, last.counts) {
			break
		}
		last = now
	}
	return last
}

func take(t *testing.T, supervisor int) holding {
	t.Helper()
	h := holding{counts: make(map[string]int), memory: make(map[string]int)}
	family := rig.Children(t, supervisor)
	family["supervisor"] = supervisor
	for name, pid := range family {
		h.counts[name+" goroutines"] = rig.Goroutines(t, pid)
		fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range fds {
			target, err := os.Readlink(fd)
			if err != nil {
				continue
			}
			kind, _, _ := strings.Cut(target, ":[")
			h.counts[name+" "+kind]++
		}
		h.memory[name] = resident(t, pid)
	}
	entries(t, h.counts)
	return h
}

func resident(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var kib int
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kib); n == 1 {
			return kib
		}
	}
	t.Fatalf("no VmRSS of %d", pid)
	return 0
}

// entries counts those of the machine's hashes.
func entries(t *testing.T, counts map[string]int) {
	t.Helper()
	for id, err := ebpf.MapGetNextID(0); !errors.Is(err, os.ErrNotExist); id, err = ebpf.MapGetNextID(id) {
		if err != nil {
			t.Fatal(err)
		}
		m, err := ebpf.NewMapFromID(id)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if m.Type() == ebpf.Hash || m.Type() == ebpf.LPMTrie {
			info, err := m.Info()
			if err != nil {
				t.Fatal(err)
			}
			counts[fmt.Sprint("map ", info.Name, " ", id)] = count(m)
		}
		m.Close()
	}
}

func count(m *ebpf.Map) (n int) {
	var key any
	next := make([]byte, m.KeySize())
	for m.NextKey(key, next) == nil {
		n++
		key = append([]byte(nil), next...)
	}
	return n
}
