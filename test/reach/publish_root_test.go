// SPDX-License-Identifier: Apache-2.0

//go:build root

package reach

import (
	"bufio"
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/test/rig"
)

//go:embed testdata/devserver.js
var devServer []byte

// patience is how long a test waits for what must happen at once.
const patience = 20 * time.Second

// watcher waits for a line of the agent's.
type watcher struct {
	line string
	seen chan struct{}
	once sync.Once
	text bytes.Buffer
}

func newWatcher(line string) *watcher { return &watcher{line: line + "\n", seen: make(chan struct{})} }

func (w *watcher) Write(p []byte) (int, error) {
	w.text.Write(p)
	if strings.Contains(w.text.String(), w.line) {
		w.once.Do(func() { close(w.seen) })
	}
	return len(p), nil
}

func (w *watcher) await(t *testing.T) {
	t.Helper()
	select {
	case <-w.seen:
	case <-time.After(patience):
		t.Fatalf("the agent did not say %q", w.line)
	}
}

// ownPorts are those that the tests of publish connect to from the host.
func ownPorts(p rig.Packet) bool {
	ours := func(port uint16) bool { return port >= 8000 && port <= 8003 }
	return p.Src.Addr() == p.Dst.Addr() && (ours(p.Src.Port()) || ours(p.Dst.Port()))
}

// dial connects from the host.
func dial(t *testing.T, w *rig.World, address string) (*net.TCPConn, error) {
	t.Helper()
	var conn net.Conn
	err := w.Do(func() (err error) {
		conn, err = net.Dial("tcp", address)
		return err
	})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return conn.(*net.TCPConn), nil
}

func must(t *testing.T, w *rig.World, address string) *net.TCPConn {
	t.Helper()
	conn, err := dial(t, w, address)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// get sends one request and returns the answer's body.
func get(t *testing.T, w *rig.World, address, path string) string {
	t.Helper()
	conn := must(t, w, address)
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: dev.localhost\r\nConnection: close\r\n\r\n", path)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%s%s: %v", address, path, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s%s: %v", address, path, err)
	}
	return string(body)
}

// answer sends text, ends its half and reads to the end.
func answer(conn *net.TCPConn, text string) (string, error) {
	if _, err := io.WriteString(conn, text); err != nil {
		return "", err
	}
	if err := conn.CloseWrite(); err != nil {
		return "", err
	}
	got, err := io.ReadAll(conn)
	return string(got), err
}

const published = `version: 1
publish:
  - "127.0.0.1:8000:3000"
  - "127.0.0.1:8001:3001"
  - "[::1]:8002:3000"
  - "127.0.0.1:8003:3003"
`

func TestPublishShowsADevelopmentServer(t *testing.T) {
	w := rig.New(t)
	w.Give(rig.Work+"/devserver.js", devServer, 0o644)
	ready, tap := newWatcher("ready"), w.Tap(ownPorts)
	session := w.Start(rig.Session{Policy: published, Args: []string{"node", "devserver.js"}, Stdout: ready})
	ready.await(t)

	if got := get(t, w, "127.0.0.1:8000", "/a"); got != "page /a of dev.localhost" {
		t.Errorf("page: %q", got)
	}
	if got := get(t, w, "[::1]:8002", "/b"); got != "page /b of dev.localhost" {
		t.Errorf("page over IPv6: %q", got)
	}
	// The server of 3001 has an IPv6 address only, and answers a half-close.
	if got, err := answer(must(t, w, "127.0.0.1:8001"), strings.Repeat("x", 1<<20)); got != "read 1048576" {
		t.Errorf("half-close: %q, %v", got, err)
	}
	webSocket(t, must(t, w, "127.0.0.1:8000"))

	// Nobody listens on 3003 before it is asked to: a reset, for a quick one while it connects.
	conn, err := dial(t, w, "127.0.0.1:8003")
	if err == nil {
		_, err = conn.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a port without a server answers %v; want a reset", err)
	}
	get(t, w, "127.0.0.1:8000", "/late")
	if got, err := answer(must(t, w, "127.0.0.1:8003"), ""); got != "late" {
		t.Errorf("a server that came late: %q, %v", got, err)
	}
	// Nowhere but on the loopback.
	if conn, err := dial(t, w, net.JoinHostPort(rig.Addr4.Addr().String(), "8000")); err == nil {
		conn.Close()
		t.Error("the published port is open on another address of the host")
	}

	get(t, w, "127.0.0.1:8000", "/end")
	if r := session.Wait(); r.Exit != 0 || strings.Contains(r.Stderr, "phantom-ns:") {
		t.Errorf("session: %v", r)
	}
	if _, err := dial(t, w, "127.0.0.1:8000"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after the session the port answers: %v", err)
	}
	if seen := tap.Stop(); len(seen) > 0 {
		t.Errorf("packets left: %v", seen)
	}
	checkPublished(t, w.Audit())
}

// checkPublished wants one record for each of the eight connections.
func checkPublished(t *testing.T, records []audit.Record) {
	t.Helper()
	allowed, refused := map[uint16]int{}, map[uint16]int{}
	for _, r := range records {
		if r.Kind != audit.KindConnect {
			continue
		}
		if !strings.Contains(r.Rule, "session.yaml:") || r.Proto != "tcp" || !strings.Contains("127.0.0.1 ::1", r.Address) {
			t.Errorf("record: %+v", r)
		}
		switch {
		case r.Verdict == audit.Allow && r.Reason == audit.ReasonAllowed && r.BytesIn > 0:
			allowed[r.Port]++
		case r.Verdict == audit.Deny && r.Reason == audit.ReasonUpstreamUnreachable:
			refused[r.Port]++
		default:
			t.Errorf("record: %+v", r)
		}
	}
	if want := "map[8000:4 8001:1 8002:1 8003:1] map[8003:1]"; fmt.Sprint(allowed, refused) != want {
		t.Errorf("connections by port are %v %v, want %s", allowed, refused, want)
	}
	counted := slices.ContainsFunc(records, func(r audit.Record) bool {
		return r.Port == 8001 && r.BytesOut == 1<<20 && r.BytesIn == uint64(len("read 1048576"))
	})
	if !counted {
		t.Error("no record counts the bytes of the half-closed connection")
	}
}

// webSocket upgrades and has one masked text frame echoed, twice.
func webSocket(t *testing.T, conn *net.TCPConn) {
	t.Helper()
	io.WriteString(conn, "GET /hot HTTP/1.1\r\nHost: dev.localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	r := bufio.NewReader(conn)
	response, err := http.ReadResponse(r, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols || response.Header.Get("Sec-Websocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("upgrade: %v, %v", response, err)
	}
	for _, text := range []string{"update", "reload"} {
		frame := []byte{0x81, 0x80 | byte(len(text)), 1, 2, 3, 4}
		for i := range text {
			frame = append(frame, text[i]^frame[2+i%4])
		}
		conn.Write(frame)
		echo := make([]byte, 2+len(text))
		if _, err := io.ReadFull(r, echo); err != nil || string(echo[2:]) != text || echo[0] != 0x81 {
			t.Fatalf("frame: %q, %v", echo, err)
		}
	}
	conn.Close()
}

// The limit of connections holds for what comes from the host too: those beyond
// it wait, and are served when others end.
func TestPublishIsBounded(t *testing.T) {
	w := rig.New(t)
	w.Give(rig.Work+"/devserver.js", devServer, 0o644)
	ready := newWatcher("ready")
	session := w.Start(rig.Session{Policy: published + "limits: {connections: 2}\n", Args: []string{"node", "devserver.js"}, Stdout: ready})
	ready.await(t)
	first, second := must(t, w, "127.0.0.1:8001"), must(t, w, "127.0.0.1:8001")
	for _, conn := range []*net.TCPConn{first, second} {
		if _, err := io.WriteString(conn, "x"); err != nil {
			t.Fatal(err)
		}
	}
	// A server answers within milliseconds; this cannot fail by being too short.
	third := must(t, w, "127.0.0.1:8001")
	third.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	if got, err := answer(third, "abc"); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a third connection was served beside two: %q, %v", got, err)
	}
	third.SetReadDeadline(time.Now().Add(patience))
	if got, err := answer(first, ""); got != "read 1" {
		t.Fatalf("first: %q, %v", got, err)
	}
	if got, err := io.ReadAll(third); string(got) != "read 3" {
		t.Errorf("third: %q, %v", got, err)
	}
	// The second is still open when the session ends, and has its record.
	session.Process.Signal(syscall.SIGTERM)
	session.Wait()
	records := slices.DeleteFunc(w.Audit(), func(r audit.Record) bool { return r.Kind != audit.KindConnect })
	if len(records) != 3 {
		t.Errorf("%d records of three connections: %+v", len(records), records)
	}
}

// What the agent holds of a published connection is a socket of its own
// namespace and cgroup: taken apart and connected again it goes nowhere.
func TestPublishedConnectionIsNoWayOut(t *testing.T) {
	w := rig.New(t)
	outside, err := w.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	reached := make(chan struct{}, 1)
	go func() {
		for {
			conn, err := outside.Accept()
			if err != nil {
				return
			}
			conn.Close()
			reached <- struct{}{}
		}
	}()
	t.Cleanup(func() { outside.Close() })
	w.Give(rig.Work+"/reuse.py", []byte(reuse), 0o644)
	ready, tap := newWatcher("ready"), w.Tap(ownPorts)
	session := w.Start(rig.Session{
		Policy: "version: 1\npublish: [\"127.0.0.1:8000:3000\"]\n", Stdout: ready,
		Args: []string{"python3", "reuse.py", outside.Addr().String(), rig.Addr4.Addr().String() + ":9", "[::ffff:127.0.0.1]:1"},
	})
	ready.await(t)
	must(t, w, "127.0.0.1:8000")
	r := session.Wait()
	if r.Exit != 0 || strings.Count(r.Stdout, "refused") != 3 {
		t.Errorf("got %v", r)
	}
	select {
	case <-reached:
		t.Error("the agent reached a server of the host")
	default:
	}
	if seen := tap.Stop(); len(seen) > 0 {
		t.Errorf("packets left: %v", seen)
	}
}

const reuse = `
import ctypes, errno, os, socket, sys
server = socket.create_server(("127.0.0.1", 3000))
print("ready", flush=True)
taken, _ = server.accept()
libc = ctypes.CDLL(None, use_errno=True)
for target in sys.argv[1:]:
    host, _, port = target.rpartition(":")
    host = host.strip("[]").removeprefix("::ffff:")
    if libc.connect(taken.fileno(), bytes(16), 16) != 0: # AF_UNSPEC
        sys.exit("disconnect: " + os.strerror(ctypes.get_errno()))
    try:
        taken.connect((host, int(port)))
        print("connected to", target)
    except OSError as e:
        print("refused", target, errno.errorcode[e.errno])
`

func TestPublishRefusesAtTheStart(t *testing.T) {
	w := rig.New(t)
	taken, err := w.Listen("tcp", "127.0.0.1:8000")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	w.Give("/home/phantom-test/.config/own.yaml", []byte("version: 1\npublish: [\"127.0.0.1:80:3000\"]\n"), 0o600)
	for name, c := range map[string]struct {
		session rig.Session
		says    string
	}{
		"every address": {rig.Session{Policy: "version: 1\npublish: [\"0.0.0.0:8000:3000\"]\n"}, "loopback"},
		"a link":        {rig.Session{Policy: "version: 1\npublish: [\"203.0.113.2:8000:3000\"]\n"}, "loopback"},
		"port taken":    {rig.Session{Policy: "version: 1\npublish: [\"127.0.0.1:8000:3000\"]\n"}, "session.yaml:2: publish: listen tcp 127.0.0.1:8000: bind: address already in use"},
		"port of root":  {rig.Session{Flags: []string{"--policy", "/home/phantom-test/.config/own.yaml"}}, "below 1024"},
	} {
		t.Run(name, func(t *testing.T) {
			c.session.Args = []string{"echo", "the agent started"}
			r := w.Run(c.session)
			if r.Exit != 125 || !strings.Contains(r.Stderr, c.says) || strings.Contains(r.Stdout, "started") {
				t.Errorf("want 125 and %q, got %v", c.says, r)
			}
		})
	}
}
