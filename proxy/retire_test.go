// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"io"
	"net/http"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// A connection that many requests share does not outlive the way to its other
// side: the kernel tests it, and ends it when nothing comes back.
func TestSharedConnectionsAreTested(t *testing.T) {
	world := newAuthority(t)
	up := newHandlerUpstream(t, world, true, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) })
	at := up.Listener.Addr().String()
	r := newRig(t, testSession(at, at), world, nil)
	if _, body := r.do(r.client(false), call{url: "https://" + apiHost + "/", header: asHolder}); body != "HTTP/2.0" {
		t.Fatal(body)
	}
	u := r.server.current.Load().upstream
	u.opening.Lock()
	defer u.opening.Unlock()
	if len(u.open) != 1 {
		t.Fatalf("%d connections", len(u.open))
	}
	for c := range u.open {
		raw, err := c.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) {
			for name, o := range map[string][3]int{
				"acknowledgements": {unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 60_000},
				"keepalive":        {unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
				"idle":             {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 30},
			} {
				if got, err := unix.GetsockoptInt(int(fd), o[0], o[1]); got != o[2] || err != nil {
					t.Errorf("%s: %d, %v", name, got, err)
				}
			}
		})
	}
}

// What a request that ended before it was sent leaves over h2 makes room as idle
// connections do.
func TestConnectionsThatNobodyTookMakeRoom(t *testing.T) {
	world := newAuthority(t)
	up := newHandlerUpstream(t, world, true, func(http.ResponseWriter, *http.Request) {})
	at := up.Listener.Addr().String()
	r := newRig(t, testSession(at, at), world, nil)
	u := r.server.current.Load().upstream
	u.room = &Room{share: NewShare(0), certain: 1, each: 1}
	req, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+apiHost+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := u.common.open(req, apiHost, false); c != nil || err != nil {
		t.Fatal(c, err)
	}
	if !u.makeRoom() {
		t.Error("the connection stays")
	}
}

// O8: a request that is being judged when the rules are replaced, its body on its
// way, is judged by the new ones.
func TestO8ReloadWhileARequestIsJudged(t *testing.T) {
	world := newAuthority(t)
	up := newRecorder(t, world, nil)
	narrowed := func(allow ...policy.Allow) *policy.Session {
		session := testSession(up.address(), up.address())
		session.Credentials[0].Positions = []policy.Position{{Kind: policy.PositionBearer}, {Kind: policy.PositionJSON, Name: "/k"}}
		session.Credentials[0].Allow = allow
		return session
	}
	r := newRig(t, narrowed(anything...), world, nil)
	conn := r.dialTLS(apiHost, "http/1.1")
	io.WriteString(conn, "POST / HTTP/1.1\r\nHost: "+apiHost+"\r\nAuthorization: Bearer "+placeholder+
		"\r\nContent-Type: application/json\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
	br := bufio.NewReader(conn)
	if resp, err := http.ReadResponse(br, nil); err != nil || resp.StatusCode != http.StatusContinue {
		t.Fatalf("%+v, %v", resp, err)
	}
	r.reload(t, narrowed(policy.Allow{Method: "GET", Glob: "*", Rule: "test:1"}))
	io.WriteString(conn, "{}")
	resp, body := r.read(br)
	if reason := r.refusedPage(body, 1); resp.StatusCode != 403 || reason != string(audit.ReasonMethodNotAllowed) || up.count() != 0 {
		t.Errorf("%d %s, %d requests", resp.StatusCode, reason, up.count())
	}
}

// O8: a tunnel to a name that the rules have somewhere else now is ended.
func TestO8ReloadEndsATunnelThatLeadsElsewhere(t *testing.T) {
	r, up, plain := newWorld(t)
	tunnel := openTCP(t, r, up, plain)
	elsewhere := newRecorder(t, nil, nil)
	r.reload(t, testSession(up.address(), elsewhere.address()))
	if n, err := tunnel.Read(make([]byte, 1)); n != 0 || err == nil || isTimeout(err) {
		t.Errorf("read %d, %v", n, err)
	}
}
