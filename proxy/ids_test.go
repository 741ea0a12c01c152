// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

// TestC4UnreadBodies: a credential of the agent's own in a body that is not
// looked at is no credential to us: without ours the request is bare, and is
// refused.
func TestC4UnreadBodies(t *testing.T) {
	eachProtocol(t, func(t *testing.T, h2 bool) {
		r, up, _ := newWorld(t)
		for _, kind := range []string{"", "text/plain", "application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json; charset=utf-16"} {
			for _, coding := range []string{"", "gzip"} {
				header := http.Header{}
				if kind != "" {
					header.Set("Content-Type", kind)
				}
				if coding != "" {
					header.Set("Content-Encoding", coding)
				}
				resp, body := r.do(r.client(h2), call{method: "POST", url: "https://" + apiHost + "/v1/x", header: header, body: `{"api_key": "sk-mine-0123456789abcdef"}`})
				if resp.StatusCode != 401 {
					t.Errorf("%q %q: %d %s", kind, coding, resp.StatusCode, body)
				}
			}
		}
		if up.connections() != 0 {
			t.Errorf("upstream saw\n%s", up.seen())
		}
	})
}

// TestC5NotWhole: what is not the placeholder, whole and as it was given, is not
// swapped.
func TestC5NotWhole(t *testing.T) {
	eachProtocol(t, func(t *testing.T, h2 bool) {
		r, up, _ := newWorld(t)
		half := len(placeholder) / 2
		for _, text := range []string{
			placeholder[1:], placeholder[:len(placeholder)-1], placeholder + "x", "x" + placeholder, strings.ToUpper(placeholder), strings.ToUpper(placeholder[:1]) + placeholder[1:],
			placeholder[:half] + " " + placeholder[half:], placeholder + "," + placeholder, `"` + placeholder + `"`, url.QueryEscape("\x00" + placeholder)[3:] + "%00",
			"%73" + placeholder[1:], base64.StdEncoding.EncodeToString([]byte(placeholder)), placeholder[:half], placeholder + " ;",
		} {
			resp, body := r.do(r.client(h2), call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+text)})
			if resp.StatusCode < 400 || strings.Contains(body, canary) {
				t.Errorf("%q: %d %s", text, resp.StatusCode, body)
			}
		}
		header := http.Header{"Authorization": {"Bearer " + placeholder[:half]}, "X-Api-Key": {placeholder[half:]}}
		if resp, body := r.do(r.client(h2), call{url: "https://" + apiHost + "/", header: header}); resp.StatusCode < 400 {
			t.Errorf("split over two fields: %d %s", resp.StatusCode, body)
		}
		if up.connections() != 0 || strings.Contains(up.seen(), canary) {
			t.Errorf("upstream saw\n%s", up.seen())
		}
	})
}

// TestC9OtherBaseURL: a client that was told another address for the API sends
// its placeholder nowhere: the connection ends before a byte.
func TestC9OtherBaseURL(t *testing.T) {
	r, up, plain := newWorld(t)
	for _, dst := range []netip.AddrPort{
		netip.AddrPortFrom(synthetic(hangHost), 443), netip.AddrPortFrom(synthetic(hangHost), 80), netip.MustParseAddrPort("203.0.113.9:443"), netip.AddrPortFrom(synthetic(apiHost), 8443),
	} {
		conn := r.dial(dst)
		io.WriteString(conn, request(apiHost))
		if text, _ := io.ReadAll(conn); len(text) > 0 {
			t.Errorf("%s: %q", dst, text)
		}
	}
	if up.connections()+plain.connections() != 0 {
		t.Error("upstream was dialled")
	}
}

// TestL12CreateThenRead: what an agent stored with one request is scrubbed when
// it reads it with another that carries no credential.
func TestL12CreateThenRead(t *testing.T) {
	eachProtocol(t, func(t *testing.T, h2 bool) {
		stored := ""
		world := newAuthority(t)
		up := newHandlerUpstream(t, world, true, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == "POST" {
				stored = r.Header.Get("Authorization")
				return
			}
			io.WriteString(w, "stored: "+stored)
		})
		at := up.Listener.Addr().String()
		r := newRig(t, testSession(at, at), world, nil)
		client := r.client(h2)
		r.do(client, call{method: "POST", url: "https://" + gitHost + "/keep", header: one("Authorization", "Bearer "+otherHolder)})
		resp, body := r.do(client, call{url: "https://" + gitHost + "/kept"})
		if resp.StatusCode != 200 || body != "stored: Bearer "+otherHolder || stored != "Bearer "+otherCanary {
			t.Errorf("%d %q", resp.StatusCode, body)
		}
	})
}

// TestD10FuzzedStreams: 100,000 streams made of the heads of this package by
// seeded mutation. What is admitted is an HTTP/1.1 request to net/http as well,
// to the same host, of the same length, and reading it takes no more than came.
func TestD10FuzzedStreams(t *testing.T) {
	var seeds []string
	for _, c := range badHeads {
		seeds = append(seeds, strings.TrimSuffix(c.head, "\r\n")+"\r\n\r\n")
	}
	seeds = append(seeds, request(apiHost), "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc")
	random := rand.New(rand.NewPCG(1, 10))
	admitted := 0
	for range 100_000 {
		stream := []byte(seeds[random.IntN(len(seeds))])
		for range random.IntN(4) {
			at := random.IntN(len(stream) + 1)
			switch random.IntN(4) {
			case 0: // another byte
				stream = append(stream[:at:at], append([]byte{byte(random.Uint32())}, stream[min(at+1, len(stream)):]...)...)
			case 1: // one less
				stream = append(stream[:at:at], stream[min(at+1, len(stream)):]...)
			case 2: // a piece of another
				other := seeds[random.IntN(len(seeds))]
				from := random.IntN(len(other))
				stream = append(stream[:at:at], append([]byte(other[from:min(len(other), from+random.IntN(20))]), stream[at:]...)...)
			case 3: // a byte that parsers differ about
				stream = append(stream[:at:at], append([]byte{"\r\n\t \x00\x0b:,;=\x7f\xa0"[random.IntN(12)]}, stream[at:]...)...)
			}
		}
		if fuzzed(t, string(stream)) {
			admitted++
		}
	}
	if admitted < 1000 {
		t.Errorf("%d of 100,000 streams were admitted: they are not like requests", admitted)
	}
}

func fuzzed(t *testing.T, stream string) (admitted bool) {
	br := bufio.NewReaderSize(strings.NewReader(stream), h1ReadBuffer)
	block, err := readBlock(br, nil, defaultHeadBytes)
	if err != nil {
		return false
	}
	h, err := parseHead(block)
	if err != nil {
		return false
	}
	theirs, err := http.ReadRequest(bufio.NewReader(strings.NewReader(stream)))
	if err != nil {
		if strings.Contains(fmt.Sprint(err), "parse") { // a target; judge refuses those
			return false
		}
		t.Fatalf("net/http refuses %q: %v", stream, err)
	}
	if theirs.Method != h.method || theirs.ContentLength != h.length || !strings.EqualFold(theirs.Host, h.host) {
		t.Fatalf("%q: %s %q %d; net/http: %s %q %d", stream, h.method, h.host, h.length, theirs.Method, theirs.Host, theirs.ContentLength)
	}
	var body io.Reader = &lengthReader{br: br, n: h.length}
	if h.length < 0 {
		body = &chunkReader{br: br}
	}
	if n, _ := io.Copy(io.Discard, body); n > int64(len(stream)) {
		t.Fatalf("%q: %d bytes of body", stream, n)
	}
	return true
}

// TestL11GuessesOfACredential: whether a guess of the credential itself is right,
// nearly right or wrong, the answer and the record are the same, and nothing is
// done for it that would take time: no name is asked, no upstream dialled.
func TestL11GuessesOfACredential(t *testing.T) {
	last := len(canary) - 1
	guesses := []string{canary, canary[:last] + "!", "!" + canary[1:], canary[:len(canary)/2] + strings.Repeat("!", len(canary)-len(canary)/2), strings.Repeat("!", len(canary))}
	eachProtocol(t, func(t *testing.T, h2 bool) {
		r, up, _ := newWorld(t)
		client := r.client(h2)
		first := ""
		for i, guess := range guesses {
			resp, body := r.do(client, call{url: "https://" + apiHost + "/v1/models", header: one("Authorization", "Bearer "+guess)})
			rec := r.sink.last(i + 1)
			resp.Header.Del("Date")
			answer := fmt.Sprint(resp.StatusCode, resp.Header, strings.ReplaceAll(body, rec.ID, "ID"), rec.Verdict, rec.Reason, rec.BytesIn, rec.BytesOut)
			if first == "" {
				first = answer
			}
			if answer != first || resp.StatusCode != 403 {
				t.Errorf("guess %d is answered\n%s\nand the first\n%s", i, answer, first)
			}
		}
		if up.connections() != 0 {
			t.Errorf("upstream saw\n%s", up.seen())
		}
	})
}

// TestH5RequestTrailers: what stands behind a request's body is dropped, a
// credential too.
func TestH5RequestTrailers(t *testing.T) {
	eachProtocol(t, func(t *testing.T, h2 bool) {
		r, up, _ := newWorld(t)
		req, err := http.NewRequest("POST", "https://"+apiHost+"/v1/x", io.MultiReader(strings.NewReader("body")))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Api-Key", placeholder)
		req.Trailer = http.Header{"X-Auth-Token": {"sk-mine"}, "X-Behind": {placeholder}}
		resp, err := r.client(h2).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if body, _ := io.ReadAll(up.last(t).Body); resp.StatusCode != 200 || string(body) != "body" {
			t.Errorf("%d, upstream got %q", resp.StatusCode, body)
		}
		if seen := up.seen(); strings.Contains(seen, "sk-mine") || strings.Contains(seen, "Behind") || strings.Contains(seen, "Trailer:") {
			t.Errorf("upstream saw\n%s", seen)
		}
	})
}
