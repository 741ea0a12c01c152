// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2/hpack"
)

// floodLimit is how much more memory one connection may make the proxy hold,
// with what the test's own upstream has.
const floodLimit = 64 << 20

// TestH7Floods: of what an h2 peer can send without end, or in vain, little is
// held in memory and no more than the permitted streams go upstream at once. Who
// is not at it is served.
func TestH7Floods(t *testing.T) {
	block := fieldBlock(fields(":path", "/hang")...)
	for _, c := range []struct {
		name string
		ends bool // the connection ends by itself
		send func(conn io.Writer, i int)
	}{
		{"rapid reset", false, func(conn io.Writer, i int) {
			id := uint32(2*i + 1)
			conn.Write(frame(frameHeaders, flagEndStream|flagEndHeaders, id, block))
			conn.Write(frame(frameReset, 0, id, []byte{0, 0, 0, 8}))
		}},
		{"streams", false, func(conn io.Writer, i int) {
			conn.Write(frame(frameHeaders, flagEndStream|flagEndHeaders, uint32(2*i+1), block))
		}},
		{"CONTINUATION", true, func(conn io.Writer, i int) {
			if i == 0 {
				conn.Write(frame(frameHeaders, flagEndStream, 1, block))
			}
			conn.Write(frame(frameContinuation, 0, 1, fieldBlock("x", strings.Repeat("y", 1000))))
		}},
		{"empty CONTINUATION", false, func(conn io.Writer, i int) {
			if i == 0 {
				conn.Write(frame(frameHeaders, flagEndStream, 1, block))
			}
			conn.Write(frame(frameContinuation, 0, 1, nil))
		}},
		{"pings whose answers nobody reads", true, func(conn io.Writer, _ int) {
			conn.Write(frame(framePing, 0, 0, make([]byte, 8)))
		}},
		{"settings whose answers nobody reads", false, func(conn io.Writer, _ int) {
			conn.Write(frame(frameSettings, 0, 0, nil))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, most := newFloodWorld(t)
			before := resident()
			conn := &counter{Writer: r.dialH2(apiHost)}
			limit := 1 << 20
			if c.ends {
				limit *= 8
			}
			for i := 0; conn.err == nil && conn.n < limit; i++ {
				c.send(conn, i)
			}
			if grown := int64(resident() - before); grown > floodLimit {
				t.Errorf("%d MiB are held", grown>>20)
			}
			if c.ends && conn.err == nil {
				t.Error("the connection goes on")
			}
			if resp, body := r.do(r.client(true), call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+placeholder)}); resp.StatusCode != 200 {
				t.Errorf("another client: %d %s", resp.StatusCode, body)
			}
			if at := most.Load(); at > 100+1 {
				t.Errorf("%d requests upstream at once", at)
			}
		})
	}
}

// counter counts what was written until the first error.
type counter struct {
	io.Writer
	n   int
	err error
}

func (c *counter) Write(p []byte) (n int, err error) {
	if c.err == nil {
		n, c.err = c.Writer.Write(p)
		c.n += n
	}
	return n, c.err
}

// newFloodWorld has an upstream that leaves /hang unanswered, and says how many
// requests it had at once at most.
func newFloodWorld(t *testing.T) (*rig, *atomic.Int32) {
	var now, most atomic.Int32
	world := newAuthority(t)
	up := newHandlerUpstream(t, world, true, func(w http.ResponseWriter, r *http.Request) {
		for n, m := now.Add(1), most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		defer now.Add(-1)
		if r.URL.Path == "/hang" {
			<-r.Context().Done()
		}
	})
	at := up.Listener.Addr().String()
	return newRig(t, testSession(at, at), world, nil), &most
}

// TestH7FieldsFromATable: some thousand fields of one byte each, which stand for
// four thousand in the table.
func TestH7FieldsFromATable(t *testing.T) {
	r, _ := newFloodWorld(t)
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for range 16000 {
		encoder.WriteField(hpack.HeaderField{Name: "x", Value: strings.Repeat("y", 4000)})
	}
	before := resident()
	if got := r.block(apiHost, append(fieldBlock(fields()...), block.Bytes()[:16000]...)); got != "431" && got != "reset" {
		t.Error(got)
	}
	if grown := int64(resident() - before); grown > floodLimit {
		t.Errorf("%d MiB are held", grown>>20)
	}
}

// TestH7WindowOfAnAnswer: an agent that reads none of its answers makes the
// proxy hold what upstreams may send meanwhile, of all streams of a connection.
func TestH7WindowOfAnAnswer(t *testing.T) {
	world := newAuthority(t)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{NextProtos: []string{"h2"}, GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		return world.Leaf(hello.ServerName)
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	settings := make(chan []byte, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		io.CopyN(io.Discard, conn, int64(len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")))
		_, payload, _ := readFrame(conn)
		settings <- payload
	}()
	r := newRig(t, testSession(l.Addr().String(), l.Addr().String()), world, nil)
	r.do(r.client(true), call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+placeholder)})
	window := uint32(0)
	for list := <-settings; len(list) >= 6; list = list[6:] {
		if id := binary.BigEndian.Uint16(list); id == 4 { // SETTINGS_INITIAL_WINDOW_SIZE
			window = binary.BigEndian.Uint32(list[2:])
		}
	}
	if window == 0 || 100*int(window) > floodLimit {
		t.Errorf("upstreams may send %d bytes of each answer unread", window)
	}
}
