// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"errors"
	"io"
	"net/http"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/swap"
)

// A body in which a credential may stand, as form or json declare it, or which a
// signature covers, is held until it is whole and judged. Every other body
// streams.
const (
	// maxHeld bounds one such body. It covers an API call with a few images in
	// it; what is larger is an upload, and uploads have their credential in the
	// head.
	maxHeld = 4 << 20
	// maxSigned bounds one body that a signature covers by a hash that is in no
	// field. Of AWS's services the models' take the largest, 25 MB.
	maxSigned = 32 << 20
	// maxHeldTotal bounds all that one session holds at once.
	maxHeldTotal = 64 << 20
	firstHeld    = 16 << 10 // where the length is not known
)

var (
	errTooLong = &refusal{status: http.StatusRequestEntityTooLarge, reason: audit.ReasonBodyLimit,
		hint: "a credential may stand in bodies of this type here: they are held, and may have 4 MiB"}
	errTooLongSigned = &refusal{status: http.StatusRequestEntityTooLarge, reason: audit.ReasonBodyLimit,
		hint: "the signature covers the body: it is held, and may have 32 MiB; send x-amz-content-sha256 to have it streamed"}
	errHolding = &refusal{status: http.StatusServiceUnavailable, reason: audit.ReasonBodyLimit,
		hint: "too many bodies are held at once; try again"}
)

// judgeBody holds and judges the body of x where a credential may stand in it.
// What the head said is judged again with it.
func (s *Server) judgeBody(x *exchange, bound []*policy.Credential) (swap.Finding, *refusal) {
	kind, err := x.generation.credentials.Load().Body(bound, x.header, x.target)
	if err != nil {
		return swap.Finding{}, swapRefusal(err)
	}
	if kind == swap.NoBody || x.length == 0 {
		return x.finding, nil
	}
	limit, tooLong := maxHeld, errTooLong
	if kind == swap.Whole {
		limit, tooLong = maxSigned, errTooLongSigned
	}
	if r := s.holdBody(x, limit, tooLong); r != nil {
		return swap.Finding{}, r
	}
	q := x.swapRequest(x.header)
	q.Body = kind
	finding, err := x.generation.credentials.Load().Judge(bound, &q)
	if err != nil {
		return swap.Finding{}, swapRefusal(err)
	}
	return finding, nil
}

// swapRequest is x as it is judged and rewritten, under header.
func (x *exchange) swapRequest(header http.Header) swap.Request {
	return swap.Request{
		Method: x.method, Host: x.authority, Header: header, Target: x.target,
		Upgrade: x.upgrade, Length: x.length, Content: x.held,
	}
}

// holdBody reads the whole body of x, of at most limit bytes.
func (s *Server) holdBody(x *exchange, limit int, tooLong *refusal) *refusal {
	if x.length > int64(limit) {
		return tooLong
	}
	size := max(int(x.length), firstHeld)
	if r := s.reserve(x, size); r != nil {
		return r
	}
	body, held := x.body.attempt(), make([]byte, 0, size)
	for {
		n, err := body.Read(held[len(held):cap(held)])
		held = held[:len(held)+n]
		switch {
		case errors.Is(err, io.EOF):
			x.held, x.length, x.expect = held, int64(len(held)), false
			return nil
		case err != nil:
			return bodyRefusal(err)
		case len(held) > limit:
			return tooLong
		case len(held) == cap(held):
			if r := s.reserve(x, cap(held)); r != nil {
				return r
			}
			held = append(make([]byte, 0, 2*cap(held)), held...)
		}
	}
}

// reserve takes size bytes more of what the session may hold, until letGo.
func (s *Server) reserve(x *exchange, size int) *refusal {
	if s.holding.Add(int64(size)) > maxHeldTotal {
		s.holding.Add(-int64(size))
		return errHolding
	}
	x.reserved += int64(size)
	return nil
}

// letGo gives back what x has reserved.
func (s *Server) letGo(x *exchange) { s.holding.Add(-x.reserved) }
