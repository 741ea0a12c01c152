// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"crypto/tls"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
)

// request is an ordinary HTTP/1.1 request with this Host field.
func request(host string) string {
	return "GET /v1/models HTTP/1.1\r\nHost: " + host + "\r\nAuthorization: Bearer " + placeholder + "\r\n\r\n"
}

// hello is a ClientHello with any bytes as its server name: crypto/tls's own
// client refuses to write most of them.
func hello(name string) []byte {
	sni := append([]byte{0, byte(len(name) >> 8), byte(len(name))}, name...)
	return helloWith(sni)
}

// helloWith takes the entries of the server name list.
func helloWith(list []byte) []byte {
	u16 := func(n int) []byte { return []byte{byte(n >> 8), byte(n)} }
	extension := func(id int, data []byte) []byte {
		return append(append(u16(id), u16(len(data))...), data...)
	}
	var ext []byte
	if list != nil {
		ext = append(ext, extension(0, append(u16(len(list)), list...))...)
	}
	ext = append(ext, extension(10, []byte{0, 2, 0, 29})...)                              // x25519
	ext = append(ext, extension(13, []byte{0, 2, 4, 3})...)                               // ecdsa_secp256r1_sha256
	ext = append(ext, extension(43, []byte{2, 3, 4})...)                                  // TLS 1.3
	ext = append(ext, extension(51, append([]byte{0, 36, 0, 29, 0, 32}, make32()...))...) // key share
	body := append([]byte{3, 3}, make([]byte, 32)...)                                     // version, random
	body = append(body, 0, 0, 2, 0x13, 0x01, 1, 0)                                        // session, cipher, compression
	body = append(append(body, u16(len(ext))...), ext...)                                 //
	msg := append([]byte{1, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
	return append(append([]byte{22, 3, 1}, u16(len(msg))...), msg...)
}

func make32() []byte {
	key := make([]byte, 32)
	key[0] = 9 // the base point
	return key
}

// TestN1SNIBytes: bytes that are no host name are refused by an alert, before
// anything is minted or dialled.
func TestN1SNIBytes(t *testing.T) {
	for _, name := range []string{
		"api.openai.test\x00.evil.test", "\x00", "api.openai.test ", "api openai.test", "api.openai.test\r\n", "api.openai.test\x80",
		"*.openai.test", "*", "api_openai.test", "[::1]", "127.0.0.1", "2130706433", "0x7f000001", strings.Repeat("a.", 150) + "test",
	} {
		t.Run(name, func(t *testing.T) {
			r, up, _ := newWorld(t)
			conn := r.dial(netip.AddrPortFrom(synthetic(apiHost), 443))
			conn.Write(hello(name))
			answer := make([]byte, 7)
			if n, _ := conn.Read(answer); n < 7 || answer[0] != 21 || answer[6] != 112 {
				t.Errorf("answer is % x, not the alert unrecognized_name", answer[:n])
			}
			if rec := r.sink.last(1); rec.Reason != audit.ReasonBadName || rec.Verdict != audit.Deny || rec.Kind != audit.KindConnect {
				t.Errorf("record %+v", rec)
			}
			if up.connections() != 0 {
				t.Error("upstream was dialled")
			}
		})
	}
}

// TestN1HostBytes: the same in Host and :authority.
func TestN1HostBytes(t *testing.T) {
	r, up, _ := newWorld(t)
	n := 0
	for _, host := range []string{
		apiHost + "\x00", apiHost + "\x01", apiHost + "\x80", "api openai.test", apiHost + "\x7f", "*.openai.test", "",
	} {
		n++
		resp, body := r.raw(apiHost, request(host))
		if resp.StatusCode != 400 {
			t.Errorf("Host %q: status %d", host, resp.StatusCode)
		}
		r.refusedPage(body, n)
	}
	for _, authority := range []string{apiHost + "\x80", "api openai.test", "*.openai.test"} {
		if got := r.stream(apiHost, fields(":authority", authority)...); got != "400" && got != "reset" {
			t.Errorf(":authority %q: %s", authority, got)
		}
	}
	if up.connections() != 0 {
		t.Error("upstream was dialled")
	}
}

// TestN2NamesDisagree: Host, :authority, absolute-form and a second Host beside
// :authority must all be the connection's name.
func TestN2NamesDisagree(t *testing.T) {
	r, up, _ := newWorld(t)
	for name, raw := range map[string]string{
		"host":          request(gitHost),
		"absolute-form": "GET https://" + gitHost + "/ HTTP/1.1\r\nHost: " + apiHost + "\r\n\r\n",
		"other host":    "GET https://" + apiHost + "/ HTTP/1.1\r\nHost: " + gitHost + "\r\n\r\n",
		"both":          "GET https://" + gitHost + "/ HTTP/1.1\r\nHost: " + gitHost + "\r\n\r\n",
	} {
		if resp, body := r.raw(apiHost, raw); resp.StatusCode != 421 {
			t.Errorf("%s: status %d, %s", name, resp.StatusCode, body)
		}
	}
	for name, f := range map[string][]string{
		"authority": fields(":authority", gitHost),
		"host":      fields("+host", gitHost),
	} {
		if got := r.stream(apiHost, f...); got != "421" {
			t.Errorf("h2 %s: %s", name, got)
		}
	}
	if up.connections() != 0 {
		t.Error("upstream was dialled")
	}
	// The same connection still serves its own name, and the next wrong one not.
	if got := r.stream(apiHost, fields("+host", apiHost)...); got != "200" {
		t.Errorf("agreeing Host and :authority: %s", got)
	}
}

// TestN3Spellings: a host in another spelling is the canonical one or refused.
func TestN3Spellings(t *testing.T) {
	r, up, _ := newWorld(t)
	for host, want := range map[string]int{
		"API.OpenAI.TEST": 200, apiHost + ".": 200, apiHost + ":443": 200, apiHost + ".:443": 200,
		apiHost + ":0443": 400, apiHost + ":": 400, apiHost + ":80": 400, apiHost + ":443:443": 400, apiHost + "..": 400,
		"api%2eopenai.test": 400, "[" + apiHost + "]": 400, "user@" + apiHost: 400, apiHost + "," + apiHost: 400,
		apiHost + ";x": 400, apiHost + "/": 400, apiHost + "\\": 400, "api．openai.test": 400, "xn--api.openai.test": 400,
		strings.Repeat("a", 254): 400, strings.Repeat("a", 64) + ".test": 400, "198.18.0.1": 400,
	} {
		if resp, _ := r.raw(apiHost, request(host)); resp.StatusCode != want {
			t.Errorf("Host %q: status %d, not %d", host, resp.StatusCode, want)
		}
	}
	for _, req := range strings.Split(strings.TrimSpace(up.seen()), "\r\n\r\n") {
		if !strings.Contains(req, "\r\nHost: "+apiHost+"\r\n") {
			t.Errorf("upstream got another host: %q", req)
		}
	}
}

// TestN4LabelExact: names around an allowed one are other names.
func TestN4LabelExact(t *testing.T) {
	r, _, _ := newWorld(t)
	for _, host := range []string{"not" + apiHost, apiHost + ".evil.test", "openai.test", "x." + apiHost} {
		if resp, _ := r.raw(apiHost, request(host)); resp.StatusCode != 421 {
			t.Errorf("Host %q: status %d", host, resp.StatusCode)
		}
		client := tls.Client(r.dial(netip.AddrPortFrom(synthetic(apiHost), 443)), r.tlsConfig(host))
		if err := client.Handshake(); !isAlert(err) {
			t.Errorf("SNI %q: %v", host, err)
		}
	}
}

// unrecognizedName is alert 112 as a client's error shows it.
func isAlert(err error) bool {
	var alert interface{ Error() string }
	return errors.As(err, &alert) && strings.Contains(err.Error(), "unrecognized name")
}

// TestN5NoName: a hello without a name, with an address, or with two names.
func TestN5NoName(t *testing.T) {
	two := append(append([]byte{0, 0, 15}, apiHost...), append([]byte{0, 0, 11}, gitHost+" "...)...)
	for name, raw := range map[string][]byte{
		"none": helloWith(nil), "address": hello("198.18.0.1"), "two": helloWith(two), "empty": hello(""),
	} {
		t.Run(name, func(t *testing.T) {
			r, up, _ := newWorld(t)
			conn := r.dial(netip.AddrPortFrom(synthetic(apiHost), 443))
			conn.Write(raw)
			answer := make([]byte, 7)
			if n, _ := conn.Read(answer); n == 7 && answer[0] != 21 {
				t.Errorf("answer is % x, not an alert", answer)
			}
			if rec := r.sink.last(1); rec.Verdict != audit.Deny || rec.Reason == audit.ReasonNameMismatch {
				t.Errorf("record %+v", rec)
			}
			if up.connections() != 0 {
				t.Error("upstream was dialled")
			}
		})
	}
}

// TestN8NoTickets: nothing to resume is given out, under any name.
func TestN8NoTickets(t *testing.T) {
	r, _, _ := newWorld(t)
	config := r.tlsConfig(apiHost, "http/1.1")
	config.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	for range 2 {
		conn := tls.Client(r.dial(netip.AddrPortFrom(synthetic(apiHost), 443)), config)
		if resp, _ := r.rawOn(conn, request(apiHost)); resp.StatusCode != 200 {
			t.Fatalf("status %d", resp.StatusCode)
		}
		if conn.ConnectionState().DidResume {
			t.Error("session was resumed")
		}
		conn.Close()
	}
}

// TestN9SlowHello: a hello in one-byte records and writes gets the verdict of a
// whole one.
func TestN9SlowHello(t *testing.T) {
	for name, want := range map[string]audit.Reason{gitHost: audit.ReasonNameMismatch, "evil\x00": audit.ReasonBadName} {
		r, _, _ := newWorld(t)
		conn := r.dial(netip.AddrPortFrom(synthetic(apiHost), 443))
		conn.SetNoDelay(true)
		for _, b := range hello(name)[5:] {
			conn.Write([]byte{22, 3, 1, 0, 1, b})
		}
		if rec := r.sink.last(1); rec.Reason != want {
			t.Errorf("%q: %s", name, rec.Reason)
		}
	}
}

// TestN10AddressOfAnother: the address of one name with the server name of
// another, both allowed.
func TestN10AddressOfAnother(t *testing.T) {
	r, up, _ := newWorld(t)
	client := tls.Client(r.dial(netip.AddrPortFrom(synthetic(openHost), 443)), r.tlsConfig(apiHost))
	if err := client.Handshake(); !isAlert(err) {
		t.Errorf("handshake: %v", err)
	}
	if rec := r.sink.last(1); rec.Reason != audit.ReasonNameMismatch || rec.Name != openHost {
		t.Errorf("record %+v", rec)
	}
	if up.connections() != 0 {
		t.Error("upstream was dialled")
	}
}
