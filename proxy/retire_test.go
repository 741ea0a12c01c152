// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"io"
	"net/http"
	"testing"

	"golang.org/x/sys/unix"
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
