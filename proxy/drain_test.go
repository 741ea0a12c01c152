// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// heldConn is a client's connection that reads nothing until it is let.
type heldConn struct {
	net.Conn
	let chan struct{}
}

func (c *heldConn) Read(p []byte) (int, error) {
	<-c.let
	return c.Conn.Read(p)
}

// O6: connections that a drain finds before their first request, at three points
// of the handshake: each is answered, or told that nothing was processed.
func TestO6DrainFinishesHandshakes(t *testing.T) {
	world := newAuthority(t)
	up := newHandlerUpstream(t, world, false, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "whole") })
	at := up.Listener.Addr().String()
	r := newRig(t, testSession(at, at), world, nil)
	dial := func() net.Conn { return r.dial(netip.AddrPortFrom(synthetic(apiHost), 443)) }

	before := dial() // accepted, and nothing said
	ready := r.dialTLS(apiHost, "http/1.1")
	let := make(chan struct{})
	var amid []*tls.Conn // the server has chosen, and waits for the client
	handshakes := make(chan error, 2)
	for _, alpn := range []string{"http/1.1", "h2"} {
		conn := tls.Client(&heldConn{dial(), let}, r.tlsConfig(apiHost, alpn))
		go func() { handshakes <- conn.Handshake() }()
		amid = append(amid, conn)
	}
	for _, conn := range amid {
		// The server's part of the handshake is there when its bytes are.
		awaitBytes(t, conn.NetConn().(*heldConn).Conn)
	}
	drained := make(chan error, 1)
	go func() { drained <- r.server.Drain(t.Context()) }()
	if _, err := dial().Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("a connection that began while draining: %v", err)
	}
	close(let)
	for range amid {
		if err := <-handshakes; err != nil {
			t.Errorf("handshake: %v", err)
		}
	}
	late := tls.Client(before, r.tlsConfig(apiHost, "h2", "http/1.1"))
	for name, conn := range map[string]*tls.Conn{"ready": ready, "amid": amid[0], "before": late} {
		if status, body := askOver(t, conn); status != "200 OK, close" || body != "whole" {
			t.Errorf("%s: %s, %q", name, status, body)
		}
		conn.Close()
	}
	awaitSentAway(t, amid[1])
	amid[1].Close()
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

// O6: a drain that begins when a connection over HTTP/2 has just been taken for
// one to serve.
func TestO6DrainAtTheLastMoment(t *testing.T) {
	r, _, _ := newWorld(t)
	r.server.h2.drain(t.Context())
	awaitSentAway(t, r.dialTLS(apiHost, "h2"))
}

// awaitSentAway reads empty SETTINGS (type 4), GOAWAY (type 7) with the last stream
// 0 and no error, and the end.
func awaitSentAway(t *testing.T, conn *tls.Conn) {
	t.Helper()
	const settings, away = "\x00\x00\x00\x04\x00\x00\x00\x00\x00", "\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	if got, err := io.ReadAll(conn); string(got) != settings+away || err != nil {
		t.Errorf("over h2: %q, %v", got, err)
	}
}

// awaitBytes returns when there is something to read, and leaves it there.
func awaitBytes(t *testing.T, conn net.Conn) {
	t.Helper()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err == nil {
		err = raw.Read(func(fd uintptr) bool {
			_, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
			return err != unix.EAGAIN
		})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// askOver sends a request and reads the answer.
func askOver(t *testing.T, conn *tls.Conn) (status, body string) {
	t.Helper()
	request := authorized(t.Context(), t, "GET", "https://"+apiHost+"/", nil)
	if err := request.Write(conn); err != nil {
		return err.Error(), ""
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), request)
	if err != nil {
		return err.Error(), ""
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	status = response.Status
	if response.Close {
		status += ", close"
	}
	return status, string(text) + errText(err)
}
