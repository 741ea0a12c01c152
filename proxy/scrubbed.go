// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/scrub"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
	"github.com/phantom-ns/phantom-ns/proxy/swap"
)

// newScrubber looks for every credential of the session: one host may have
// learnt from another what it never got from us.
func newScrubber(credentials *swap.Set) (*scrub.Scrubber, error) {
	s, err := scrub.New(nil)
	if err != nil {
		return nil, err
	}
	return s, teach(s, credentials)
}

// teach makes s look for the values that credentials have now. One without a
// value is sent nowhere.
func teach(s *scrub.Scrubber, credentials *swap.Set) error {
	for _, c := range credentials.Credentials() {
		err := c.Value.Use(func(v secret.Value) error { return teachOne(s, &c, v) })
		if err != nil && !errors.Is(err, secret.ErrNoValue) {
			return err
		}
	}
	return nil
}

func teachOne(s *scrub.Scrubber, c *swap.Credential, v secret.Value) error {
	return c.Parts(v, func(part secret.Value, placeholder string) error {
		return s.Add([]scrub.Pair{{Secret: part, Placeholder: placeholder}})
	})
}

// bindMinters gives the credentials that are made what they are made with. What
// they make is searched for before any request carries it.
func (g *Group) bindMinters(credentials *swap.Set) error {
	for _, c := range credentials.Credentials() {
		if c.Minter == nil {
			continue
		}
		err := c.Minter.Bind(g.ctx, g, func(v secret.Value) error { return teachOne(g.scrubber, &c, v) })
		if err != nil {
			return err
		}
	}
	return nil
}

// scrubbed tells whether the exchange's answer is searched: every answer of a
// host that a credential is bound to, whether or not this request carried one
// (create it with one request, read it with the next). After a reload that took
// a credential from a host it is every answer.
func (x *exchange) scrubbed() bool {
	return x.scheme == "https" && (len(x.connect.AtEndpoint) > 0 || x.generation.searchAll)
}

// noteGuessing tells, once, that the agent uses streams to guess a credential.
func (s *Server) noteGuessing() {
	s.logger.Warn("streams of answers were used to guess a credential; they tell no more of it: replace the credentials of hosts that say back what they are sent")
	s.write(audit.Record{ID: audit.NewID(), Kind: audit.KindSession, Verdict: audit.Allow, Reason: audit.ReasonGuessing})
}

// askReadable takes out of a request what asks for an answer that cannot be
// searched: unknown codings, and ranges, whose bounds cut a credential in two.
// A key pair is in no request, so that no answer can return it, and neither is
// what has yet to be captured: clients of such hosts keep their ranges, in which
// they fetch large objects. What is about to be captured is asked for whole.
func (x *exchange) askReadable(header http.Header) {
	scrub.Requested(header, &x.conn.server.decoding)
	if len(header["Range"]) == 0 && len(header["If-Range"]) == 0 {
		return
	}
	sent := func(c *policy.Credential) bool {
		return !c.Signs() && (!c.Minted || x.conn.server.vault.had(c.Name))
	}
	if x.endpoint != nil || x.generation.searchAll || slices.ContainsFunc(x.connect.AtEndpoint, sent) {
		delete(header, "Range")
		delete(header, "If-Range")
	}
}

// ofTheCoded are the fields about the bytes that came, not about those decoded
// from them.
var ofTheCoded = []string{"Content-Encoding", "Content-Md5", "Content-Digest", "Repr-Digest", "Digest"}

// scrub puts the placeholders into an answer, whose body is decoded for it. It
// returns the length of what the agent gets, or -1.
func (s *Server) scrub(resp *http.Response, header http.Header) (length int64, err error) {
	if err := scrub.Messages(header); err != nil {
		return 0, err
	}
	length = resp.ContentLength
	body, err := scrub.Decode(header["Content-Encoding"], resp.Body, scrub.Limits{Budget: &s.decoding})
	if err != nil {
		return 0, err
	}
	if body != resp.Body {
		length = -1
		for _, name := range ofTheCoded {
			delete(header, name)
		}
	}
	s.scrubber.Header(header)
	s.scrubber.Header(resp.Trailer) // the names alone, so far
	read := s.scrubber.Reader
	if len(header["Content-Type"]) == 1 && scrub.Framed(header["Content-Type"][0]) {
		read = s.scrubber.Framed
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{read(body), body}
	return length, nil
}

// unreadable is the answer for an answer that cannot be searched.
func unreadable(err error) *refusal {
	r := badResponse(fmt.Sprintf("scrub answer: %v", err))
	if errors.Is(err, scrub.ErrBudget) {
		r.status, r.reason = http.StatusServiceUnavailable, audit.ReasonBodyLimit
		r.hint = "too many compressed answers are open at once; read them, or ask for them with Accept-Encoding: identity"
		return r
	}
	r.hint = "the answer is in a form that cannot be searched for credentials"
	return r
}
