// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/swap"
)

// exchange is one request and its answer, whichever protocol the agent speaks.
// From here on there is one path: judge, send, relay, record.
type exchange struct {
	conn      *agentConn
	proto     string // "http/1.1" or "h2"
	scheme    string // "https" or "http"
	method    string
	target    string // path and query, as on the wire
	authority string // Host or :authority, as on the wire
	header    http.Header
	length    int64 // of the body; -1: unknown
	expect    bool
	upgrade   bool
	body      *requestBody
	out       responder

	endpoint *policy.TokenEndpoint // not nil: the answer holds credentials

	generation *generation             // what it is judged by and sent with
	connect    policy.Connect          // as that judges the connection
	judged     bool                    // and let pass; written under the connection's lock
	cancel     func()                  // ends the way to the upstream
	socket     *webSocket              // behind a 101; written under the connection's lock
	stale      bool                    // a credential of the handshake was replaced; by the same
	ended      atomic.Pointer[refusal] // why it was cut off in the middle

	finding  swap.Finding
	held     []byte // the whole body, where a credential may stand in it
	reserved int64  // of what the session may hold
	start    time.Time
	record   audit.Record
	sent     int64 // bytes of the answer's body
	begun    bool  // the answer's head was written
}

// responder writes one answer to the agent.
type responder interface {
	io.Writer
	// head writes status and fields. length is the body's, or -1; with bodyless
	// no body follows and length does not count.
	head(status int, header http.Header, length int64, bodyless bool) error
	flush() error
	// end completes the answer.
	end(trailer http.Header) error
	// upgrade writes the head of a 101 and gives the connection up.
	upgrade(header http.Header) (leg, error)
	// abort ends the answer, as an incomplete one, whatever is under way; it is
	// called from elsewhere.
	abort()
}

// errAbort is an answer that began and cannot be completed: the agent must not
// take it for whole.
var errAbort = errors.New("answer is incomplete")

// exchange serves one request. An error means that the connection or stream
// ends without the mark of a complete answer.
func (s *Server) exchange(ctx context.Context, x *exchange) error {
	x.begin()
	defer s.finish(x)
	if r := s.judge(x); r != nil {
		return s.refuse(x, r)
	}
	resp, err := x.generation.upstream.send(ctx, x)
	if err != nil && ctx.Err() != nil { // the agent left; how far it got nobody knows
		x.record.Verdict, x.record.Reason = audit.Allow, audit.ReasonAllowed
		return errAbort
	}
	if err != nil {
		return s.refuse(x, sendRefusal(x, err))
	}
	defer func() { resp.Body.Close() }() // relay may put a decoder in its place
	return s.relay(x, resp)
}

func (x *exchange) begin() {
	x.start = time.Now()
	x.conn.enter(x)
	x.record = x.conn.record(audit.KindRequest)
	x.record.ID = audit.NewID()
	x.record.Proto, x.record.Method = x.proto, x.method
	x.record.Path, _, _ = cutQuery(x.target)
	x.record.Verdict, x.record.Reason = audit.Deny, audit.ReasonInternal // until something else is decided
}

// finish writes the request's one record.
func (s *Server) finish(x *exchange) {
	x.conn.leave(x)
	x.generation.upstream.leave()
	r := &x.record
	if cut := x.ended.Load(); cut != nil {
		r.Verdict, r.Reason, r.Rule = audit.Deny, cut.reason, cut.rule
	}
	if x.body != nil {
		r.BytesIn = uint64(x.body.count())
	}
	r.BytesOut, r.MS = uint64(x.sent), milliseconds(x.start)
	s.letGo(x)
	s.write(*r)
}

// write hands a record to the sink. When it does not take it, requests are
// refused until it does again.
func (s *Server) write(r audit.Record) {
	err := s.sink.Write(r)
	s.auditLost.Store(err != nil)
	if err != nil {
		s.logger.Error("write audit record", "id", r.ID, "error", err)
	}
}

// relay copies an answer to the agent.
func (s *Server) relay(x *exchange, resp *http.Response) error {
	x.record.Verdict, x.record.Reason = audit.Allow, audit.ReasonAllowed
	if resp.StatusCode == http.StatusUnauthorized {
		x.finding.Reject()
	}
	if resp.StatusCode == http.StatusSwitchingProtocols && x.upgrade {
		return s.relayUpgrade(x, resp)
	}
	if resp.StatusCode < 200 {
		return s.refuse(x, badResponse("informational status as the final one"))
	}
	length, bodyless := resp.ContentLength, x.method == http.MethodHead ||
		resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusNotModified
	declared := resp.Header["Content-Length"]
	header := incomingHeader(resp.Header)
	if x.endpoint != nil && !bodyless {
		if err := s.capture(x, resp, header); err != nil {
			return s.refuse(x, uncaptured(err))
		}
	}
	if x.scrubbed() {
		encoded := len(header["Content-Encoding"]) > 0
		var err error
		if length, err = s.scrub(resp, header); err != nil {
			return s.refuse(x, unreadable(err))
		}
		if encoded { // HEAD says what GET would: no coding, no length
			declared = nil
		}
	}
	if !bodyless {
		announce(header, resp.Trailer)
	}
	s.cookies.learn(x.conn.host, header) // as the agent will send them back
	if bodyless && len(declared) == 1 && resp.StatusCode != http.StatusNoContent {
		if _, err := parseLength(declared[0]); err == nil {
			header["Content-Length"] = declared
		}
	}
	x.record.Status, x.begun = resp.StatusCode, true
	if err := x.out.head(resp.StatusCode, header, length, bodyless); err != nil {
		return errAbort
	}
	if bodyless {
		return x.out.end(nil)
	}
	if err := x.copyBody(resp.Body, length); err != nil {
		return errAbort
	}
	trailer := stripTrailer(resp.Trailer)
	if x.scrubbed() {
		s.scrubber.Header(trailer)
	}
	return x.out.end(trailer)
}

// announce says which trailers come: over HTTP/1.1 they need a body in chunks,
// whatever length upstream stated (RFC 9110 section 6.5.1).
func announce(header, trailer http.Header) {
	var names []string
	for name := range trailer {
		if validName(name) {
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		slices.Sort(names)
		header["Trailer"] = []string{strings.Join(names, ", ")}
	}
}

func stripTrailer(trailer http.Header) http.Header {
	for name, values := range trailer {
		if !validField(name, values) {
			delete(trailer, name)
		}
	}
	return trailer
}

// copyBufferSize is two TLS records.
const copyBufferSize = 32 << 10

var copyBuffers = sync.Pool{New: func() any { return new([copyBufferSize]byte) }}

// copyBody passes on each read at once, so that streams do not wait, but for
// the last one, which end flushes. A head of unknown length goes out first:
// nobody knows when its first byte comes.
func (x *exchange) copyBody(body io.Reader, length int64) error {
	buf := copyBuffers.Get().(*[copyBufferSize]byte)
	defer copyBuffers.Put(buf)
	if length < 0 {
		if err := x.out.flush(); err != nil {
			return err
		}
	}
	for {
		n, err := body.Read(buf[:])
		if n > 0 {
			if _, werr := x.out.Write(buf[:n]); werr != nil {
				return werr
			}
			x.sent += int64(n)
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case n > 0 && x.sent != length:
			if err := x.out.flush(); err != nil {
				return err
			}
		}
	}
}
