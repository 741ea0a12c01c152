// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

const handshake = "GET /v1/responses HTTP/1.1\r\nHost: " + apiHost + "\r\n" + auth +
	"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Protocol: chat\r\n\r\n"

// newSwitcher is an upstream that answers an upgrade and then echoes.
func newSwitcher(t *testing.T, r *recorder, answer string) {
	t.Helper()
	r.respond = func(*http.Request) string { return answer }
	r.echo = strings.Contains(answer, "websocket")
}

// textFrame is a text frame as a server sends it, agentFrame as a client does.
func textFrame(text string) string { return "\x81" + string(rune(len(text))) + text }

func agentFrame(text string) string {
	mask, masked := [4]byte{0xa5, 0x5a, 0x0f, 0xf0}, []byte(text)
	for i := range masked {
		masked[i] ^= mask[i%4]
	}
	return "\x81" + string([]byte{0x80 | byte(len(text))}) + string(mask[:]) + string(masked)
}

// echoFrames sends short frames of a client back as a server's, the one that
// closes among them.
func echoFrames(w io.Writer, r io.Reader) {
	for {
		var head [6]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		text := make([]byte, head[1]&0x7f)
		if _, err := io.ReadFull(r, text); err != nil {
			return
		}
		for i := range text {
			text[i] ^= head[2+i%4]
		}
		if _, err := w.Write(append([]byte{head[0], byte(len(text))}, text...)); err != nil {
			return
		}
	}
}

// accepts is the answer to the key of handshake, RFC 6455 section 1.3's own.
const accepts = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

const switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: " + accepts + "\r\n"

// TestWebSocket: the handshake carries the real credential and no extension,
// and then bytes pass both ways until both sides have ended.
func TestWebSocket(t *testing.T) {
	r, up, _ := newWorld(t)
	newSwitcher(t, up, switched+"\r\n")
	conn := r.dialTLS(apiHost, "http/1.1")
	io.WriteString(conn, handshake+agentFrame("early")) // frames may follow at once
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "websocket" || resp.Header.Get("Sec-Websocket-Accept") != accepts {
		t.Fatalf("%+v, %v\n%s", resp, err, r.logs.String())
	}
	io.WriteString(conn, agentFrame(canary+" later")) // as an upstream would that leaks
	want := textFrame("early") + textFrame(placeholder+" later")
	got := make([]byte, len(want))
	if _, err := io.ReadFull(br, got); err != nil || string(got) != want {
		t.Errorf("echo %q, %v", got, err)
	}
	conn.CloseWrite()
	if rest, err := io.ReadAll(br); len(rest) != 0 || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
	req := up.last(t)
	if req.Header.Get("Authorization") != "Bearer "+canary || req.Header.Get("Upgrade") != "websocket" ||
		req.Header.Get("Sec-Websocket-Protocol") != "chat" || len(req.Header["Sec-Websocket-Extensions"]) != 0 {
		t.Errorf("upstream got %v", req.Header)
	}
	if rec := r.sink.last(1); rec.Status != 101 || rec.BytesIn != uint64(len(want)+8) || rec.BytesOut != uint64(len(want)) || rec.Credential != "openai" {
		t.Errorf("record %+v", rec)
	}
}

// TestWebSocketRefused: by us before, by the upstream, or with what nobody
// offered.
func TestWebSocketRefused(t *testing.T) {
	for name, c := range map[string]struct {
		request, answer string
		status          int
	}{
		"bare":               {strings.Replace(handshake, auth, "", 1), switched + "\r\n", 401},
		"upstream's refusal": {handshake, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", 403},
		"h2c":                {handshake, strings.Replace(switched, "websocket", "h2c", 1) + "\r\n", 502},
		"no accept":          {handshake, strings.Replace(switched, "Sec-WebSocket-Accept: "+accepts+"\r\n", "", 1) + "\r\n", 502},
		"accept of another":  {handshake, strings.Replace(switched, accepts, "x"+accepts[1:], 1) + "\r\n", 502},
		"no key":             {strings.Replace(handshake, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", 1), switched + "\r\n", 502},
		"extension":          {handshake, switched + "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n", 502},
	} {
		t.Run(name, func(t *testing.T) {
			r, up, _ := newWorld(t)
			newSwitcher(t, up, c.answer)
			conn := r.dialTLS(apiHost, "http/1.1")
			if resp, body := r.rawOn(conn, c.request); resp.StatusCode != c.status {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
		})
	}
}

// TestH9NoTunnel: what a client sends behind a 101 is frames, or the end: a
// request that nobody judged does not go upstream in their place.
func TestH9NoTunnel(t *testing.T) {
	for name, sent := range map[string]string{
		"a request":              request(apiHost),
		"a request behind":       agentFrame("hello") + request(apiHost),
		"no mask":                textFrame("hello"),
		"reserved bit":           "\xc1" + agentFrame("hello")[1:],
		"opcode":                 "\x83" + agentFrame("hello")[1:],
		"continues nothing":      "\x80" + agentFrame("hello")[1:],
		"fragmented ping":        "\x09" + agentFrame("hello")[1:],
		"length longer than due": "\x81\xfe\x00\x05\x00\x00\x00\x00hello",
	} {
		t.Run(name, func(t *testing.T) {
			r, up, _ := newWorld(t)
			newSwitcher(t, up, switched+"\r\n")
			conn := r.dialTLS(apiHost, "http/1.1")
			io.WriteString(conn, handshake)
			br := bufio.NewReader(conn)
			if resp, err := http.ReadResponse(br, nil); err != nil || resp.StatusCode != 101 {
				t.Fatalf("%+v, %v", resp, err)
			}
			before := len(up.seen())
			io.WriteString(conn, sent)
			io.Copy(io.Discard, br) // until we are hung up on
			up.close()
			if arrived := up.seen()[before:]; strings.Contains(arrived, "HTTP/1.1") || strings.Contains(arrived, "hello") {
				t.Errorf("upstream got %q", arrived)
			}
		})
	}
}

// TestWebSocketOverH2Upstream: an upstream that prefers h2 is asked in HTTP/1.1.
func TestWebSocketOverH2Upstream(t *testing.T) {
	world := newAuthority(t)
	up := newHandlerUpstream(t, world, true, func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 {
			return
		}
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, switched+"\r\n")
		echoFrames(conn, io.LimitReader(rw, int64(len(agentFrame("ping")))))
	})
	at := up.Listener.Addr().String()
	r := newRig(t, testSession(at, at), world, nil)
	// An h2 connection is in the pool.
	r.do(r.client(false), call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+placeholder)})
	conn := r.dialTLS(apiHost, "http/1.1")
	io.WriteString(conn, handshake+agentFrame("ping"))
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != 101 {
		t.Fatalf("%+v, %v\n%s", resp, err, r.logs.String())
	}
	if got, err := io.ReadAll(br); string(got) != textFrame("ping") {
		t.Errorf("%q, %v", got, err)
	}
}

// TestTCP: bytes pass to a name and to a declared address; other ports do not.
func TestTCP(t *testing.T) {
	world := newAuthority(t)
	plain := newRecorder(t, nil, nil)
	session := testSession("127.0.0.1:1", plain.address())
	declared := netip.MustParseAddrPort(plain.address())
	session.Egress = append(session.Egress, policy.Egress{
		Address: netip.PrefixFrom(declared.Addr(), 32), Port: declared.Port(), Protocol: policy.TCP, Rule: "test:9"})
	r := newRig(t, session, world, nil)
	for n, dst := range []netip.AddrPort{netip.AddrPortFrom(synthetic(tcpHost), 5432), declared} {
		conn := r.dial(dst)
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if resp, body := r.read(bufio.NewReader(conn)); resp.StatusCode != 200 || body != "ok" {
			t.Errorf("%s: %d %q", dst, resp.StatusCode, body)
		}
		conn.CloseWrite()
		if rest, err := io.ReadAll(conn); len(rest) > 0 || err != nil {
			t.Errorf("%s: %q, %v", dst, rest, err)
		}
		rec := r.sink.last(n + 1)
		if rec.Kind != audit.KindConnect || rec.Verdict != audit.Allow || rec.BytesIn != 27 || rec.BytesOut != uint64(len(okAnswer)) {
			t.Errorf("record %+v", rec)
		}
	}
	for n, c := range []struct {
		dst    netip.AddrPort
		reason audit.Reason
	}{
		{netip.AddrPortFrom(synthetic(tcpHost), 5433), audit.ReasonPortNotAllowed},
		{netip.AddrPortFrom(synthetic(apiHost), 80), audit.ReasonPlaintext},
		{netip.AddrPortFrom(synthetic(apiHost), 8443), audit.ReasonPortNotAllowed},
		{netip.AddrPortFrom(synthetic(hangHost), 443), audit.ReasonHostNotAllowed},
		{netip.AddrPortFrom(netip.MustParseAddr("198.18.77.7"), 443), audit.ReasonAddressNotAllowed},
		{netip.MustParseAddrPort("8.8.8.8:443"), audit.ReasonAddressNotAllowed},
		{netip.AddrPortFrom(declared.Addr(), 1), audit.ReasonPortNotAllowed},
		{netip.AddrPort{}, audit.ReasonOriginMissing},
	} {
		conn := r.dial(c.dst)
		if rest, _ := io.ReadAll(conn); len(rest) > 0 {
			t.Errorf("%s: %q", c.dst, rest)
		}
		if rec := r.sink.last(n + 3); rec.Reason != c.reason || rec.Verdict != audit.Deny {
			t.Errorf("%s: record %+v", c.dst, rec)
		}
	}
}

// TestPassthrough: the upstream's own certificate reaches the agent, byte for
// byte TLS, when the hello names the connection's name and hides no other.
func TestPassthrough(t *testing.T) {
	r, up, _ := newWorld(t)
	config := r.tlsConfig(passHost)
	config.RootCAs = pool(r.world)
	conn := tls.Client(r.dial(netip.AddrPortFrom(synthetic(passHost), 443)), config)
	if resp, body := r.rawOn(conn, "GET / HTTP/1.1\r\nHost: "+passHost+"\r\n\r\n"); resp.StatusCode != 200 || body != "ok" {
		t.Fatalf("%d %q", resp.StatusCode, body)
	}
	conn.Close()
	if rec := r.sink.last(1); rec.Verdict != audit.Allow || rec.Name != passHost || rec.BytesIn == 0 {
		t.Errorf("record %+v", rec)
	}
	before := up.connections()
	ech := append(hello(passHost), 0)[:len(hello(passHost))]
	ech = withExtension(ech, extensionECH)
	for n, raw := range [][]byte{hello(apiHost), hello(passHost + "\x00"), helloWith(nil), ech, []byte("GET / HTTP/1.1\r\n\r\n"), {22, 3, 1, 0, 0}} {
		conn := r.dial(netip.AddrPortFrom(synthetic(passHost), 443))
		conn.Write(raw)
		conn.CloseWrite()
		answer, _ := io.ReadAll(conn)
		if len(answer) != 7 || answer[0] != 21 {
			t.Errorf("hello %d: answer % x", n, answer)
		}
		if rec := r.sink.last(n + 2); rec.Verdict != audit.Deny {
			t.Errorf("hello %d: record %+v", n, rec)
		}
	}
	if up.connections() != before {
		t.Error("upstream was dialled for a refused hello")
	}
}

// TestTLSToPlainPort: a client that speaks TLS where HTTP is expected is told at
// once.
func TestTLSToPlainPort(t *testing.T) {
	r, _, plain := newWorld(t)
	conn := r.dial(netip.AddrPortFrom(synthetic(plainHost), 80))
	if resp, body := r.rawOn(conn, string(hello(plainHost))); resp.StatusCode != 400 || plain.connections() != 0 {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

// withExtension adds an empty-looking extension to a hello.
func withExtension(raw []byte, id uint16) []byte {
	// record 5, handshake 4, version 2, random 32, session 1, ciphers 4, compression 2
	const extensions = 5 + 4 + 2 + 32 + 1 + 4 + 2
	added := []byte{byte(id >> 8), byte(id), 0, 1, 1}
	out := append(bytes.Clone(raw), added...)
	for _, at := range []int{3, 7, extensions} {
		n := int(out[at])<<8 | int(out[at+1])
		n += len(added)
		out[at], out[at+1] = byte(n>>8), byte(n)
	}
	return out
}

// TestSplice: half-closes pass, both counts are right, both ends are closed.
func TestSplice(t *testing.T) {
	a, aPeer, err := tcpPair()
	if err != nil {
		t.Fatal(err)
	}
	b, bPeer, err := tcpPair()
	if err != nil {
		t.Fatal(err)
	}
	type counts struct{ ab, ba int64 }
	done := make(chan counts, 1)
	go func() {
		ab, ba := Splice(a, b)
		done <- counts{ab, ba}
	}()
	io.WriteString(aPeer, "question")
	aPeer.CloseWrite()
	if got, err := io.ReadAll(bPeer); string(got) != "question" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	io.WriteString(bPeer, "answer")
	bPeer.Close()
	if got, err := io.ReadAll(aPeer); string(got) != "answer" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if got := <-done; got != (counts{8, 6}) {
		t.Errorf("counts %+v", got)
	}
	if _, err := a.Write([]byte("x")); err == nil {
		t.Error("still open")
	}
	aPeer.Close()
}
