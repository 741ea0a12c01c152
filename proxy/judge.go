// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/sign"
	"github.com/phantom-ns/phantom-ns/proxy/swap"
)

// judge decides about a parsed request, for both protocols. Nil admits it, with
// its credential in x.finding.
func (s *Server) judge(x *exchange) *refusal {
	if s.auditLost.Load() {
		return &refusal{status: http.StatusServiceUnavailable, reason: audit.ReasonAuditFull}
	}
	if !same(x.conn.connect, x.connect) {
		return connectRefusal(x.connect)
	}
	if err := checkMethod(x.method); err != nil {
		return headRefusal(err)
	}
	if err := checkTarget(x.target); err != nil {
		return headRefusal(err)
	}
	if !validTarget(x.target) {
		return &refusal{status: http.StatusBadRequest, reason: audit.ReasonBadTarget,
			hint: "the path cannot be forwarded byte for byte"}
	}
	if r := s.judgeHost(x); r != nil {
		return r
	}
	if r := judgeOverride(x); r != nil {
		return r
	}
	if path, _, _ := cutQuery(x.target); x.scheme == "https" {
		x.endpoint = x.generation.rules.Capture(x.conn.host, path)
	}
	if r := s.judgeCredential(x); r != nil {
		return r
	}
	if r := s.judgeRules(x); r != nil {
		return r
	}
	return s.settle(x)
}

// judgeHost wants Host or :authority to be the connection's name. The port may
// be left out, else it must be the connection's own, written plainly.
func (s *Server) judgeHost(x *exchange) *refusal {
	host, port, hasPort := strings.Cut(x.authority, ":")
	if hasPort && port != strconv.Itoa(int(x.conn.port)) {
		return &refusal{status: http.StatusBadRequest, reason: audit.ReasonBadName, hint: "the port of Host is not the connection's"}
	}
	name, err := policy.Canonical(host)
	if err != nil {
		return &refusal{status: http.StatusBadRequest, reason: audit.ReasonBadName, hint: "Host is not a host name"}
	}
	if name != x.conn.host {
		return &refusal{status: http.StatusMisdirectedRequest, reason: audit.ReasonHostMismatch,
			hint: "Host is not the name this connection was opened for"}
	}
	return nil
}

// overrides are the fields by which some servers take another method or path
// than the request line's: what the rules judged would not be what is done.
// They are in net/http's spelling.
var (
	methodOverrides = []string{"X-Http-Method-Override", "X-Http-Method", "X-Method-Override"}
	pathOverrides   = []string{"X-Original-Url", "X-Rewrite-Url"}
)

// structural are the fields by which a message is framed, routed and read, and
// the overrides, in lower case. Servers that take "_" and other punctuation for
// "-" (CGI, WSGI) would read a look-alike as the field itself.
var structural = func() map[string]struct{} {
	set := make(map[string]struct{})
	for _, list := range [][]string{hopByHop, methodOverrides, pathOverrides,
		{"Content-Length", "Content-Type", "Content-Encoding", "Host", "Expect", "Range"}} {
		for _, name := range list {
			set[strings.ToLower(name)] = struct{}{}
		}
	}
	return set
}()

// disguised reports whether name, a token, is a structural field but for its
// punctuation.
func disguised(name string) bool {
	odd := func(r rune) bool {
		return r != '-' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	}
	if strings.IndexFunc(name, odd) < 0 {
		return false
	}
	plain := strings.Map(func(r rune) rune {
		if odd(r) {
			return '-'
		}
		return r
	}, strings.ToLower(name))
	_, ok := structural[strings.Trim(plain, "-")]
	return ok
}

func judgeOverride(x *exchange) *refusal {
	overridden := false
	for name := range x.header {
		if disguised(name) {
			return &refusal{status: http.StatusBadRequest, reason: audit.ReasonBadHeader,
				hint: "some servers read a header of this request otherwise than it is judged"}
		}
	}
	for _, name := range methodOverrides {
		for _, value := range x.header[name] {
			overridden = overridden || value != x.method
		}
	}
	for _, name := range pathOverrides {
		overridden = overridden || len(x.header[name]) > 0
	}
	if !overridden {
		return nil
	}
	return &refusal{status: http.StatusBadRequest, reason: audit.ReasonBadHeader,
		hint: "a header field overrides the method or path of the request line"}
}

// bound returns the credentials that may be used: none without TLS.
func (x *exchange) bound() []*policy.Credential {
	if x.scheme != "https" {
		return nil
	}
	if x.endpoint != nil {
		return x.connect.AtEndpoint
	}
	return x.connect.Usable
}

// judgeCredential finds the request's credentials. Cookies that the host did
// not set are dropped; alone they are somebody else's credential.
func (s *Server) judgeCredential(x *exchange) *refusal {
	bound := x.bound()
	q := x.swapRequest(x.header)
	finding, err := x.generation.credentials.Load().Judge(bound, &q)
	if err != nil {
		return swapRefusal(err)
	}
	if x.finding = finding; finding.Unbound || finding.Misplaced {
		return x.strayRefusal()
	}
	finding, r := s.judgeBody(x, bound)
	if r != nil {
		return r
	}
	if x.finding = finding; finding.Misplaced {
		return x.strayRefusal()
	}
	x.record.Credential, x.record.Position = finding.Credentials(), finding.Positions()
	if r := s.verify(x); r != nil {
		return r
	}
	if s.cookies.filter(x.conn.host, x.header, finding.OwnCookie) && finding.Bare && len(bound) > 0 {
		x.finding = swap.Finding{Foreign: true}
	}
	return nil
}

// verify checks what the request's signatures cover, and makes room for the
// chunk of a signed stream that is being signed.
func (s *Server) verify(x *exchange) *refusal {
	q := x.swapRequest(x.header)
	if err := x.finding.Verify(&q); err != nil {
		return swapRefusal(err)
	}
	if credential, service := x.finding.Service(); service != "" && x.endpoint == nil {
		x.endpoint = x.generation.rules.MintedBy(credential, service)
	}
	if x.finding.Streams() {
		return s.reserve(x, sign.MaxChunk)
	}
	return nil
}

// strayRefusal is the answer to a placeholder where it does not belong.
func (x *exchange) strayRefusal() *refusal {
	x.record.Credential = x.finding.Other
	r := &refusal{status: http.StatusForbidden, reason: audit.ReasonMisplaced,
		hint: "the placeholder stands where its credential does not declare it: see inject"}
	if x.finding.Unbound {
		r.reason, r.hint = audit.ReasonUnbound, "this credential's placeholder is not for this host"
		if x.scheme != "https" {
			r.reason = audit.ReasonPlaintext
		}
	}
	return r
}

// swapRefusal is the answer to a request whose credentials cannot be judged.
func swapRefusal(err error) *refusal {
	r := &refusal{status: http.StatusBadRequest, reason: audit.ReasonDuplicateCredential,
		hint: "send each credential once in a place"}
	switch {
	case errors.Is(err, swap.ErrVariant):
		r.reason, r.hint = audit.ReasonBadHeader, "some servers read a header of this request otherwise than it is judged"
	case errors.Is(err, swap.ErrSignature):
		r.status, r.reason = http.StatusForbidden, audit.ReasonBadSignature
		r.hint = "the AWS signature is malformed, of version 4a, or not made with this session's placeholder key over this request"
	case errors.Is(err, swap.ErrMalformed):
		r.reason, r.hint = audit.ReasonBadRequest, "the body is not what its Content-Type says"
	}
	return r
}

// judgeRules asks the policy about every credential of the request; one that
// may not be used here refuses it.
func (s *Server) judgeRules(x *exchange) *refusal {
	q := x.question()
	if x.endpoint != nil && x.endpoint.Login != "" && q.Bare && x.method == http.MethodPost && !s.vault.has(x.endpoint.Login+policy.LoginRefresh) {
		return nil // what the browser gave the tool, and no credential
	}
	if len(x.finding.Matched) == 0 {
		return s.judgeRequest(x, q)
	}
	for _, m := range x.finding.Matched {
		q.Credential = m.Credential.Policy
		if r := s.judgeRequest(x, q); r != nil {
			return r
		}
	}
	return nil
}

// question is x as the policy is asked about it, but for the credential.
func (x *exchange) question() policy.Request {
	path, _, _ := cutQuery(x.target)
	return policy.Request{
		Host:    x.conn.host,
		Port:    x.conn.port,
		Method:  x.method,
		Path:    path,
		Bare:    x.finding.Bare,
		Foreign: x.finding.Foreign,
		Carries: x.upgrade || x.length != 0 && (x.method == http.MethodGet || x.method == http.MethodHead),
	}
}

func (s *Server) judgeRequest(x *exchange, q policy.Request) *refusal {
	v := x.generation.rules.Request(q)
	if v.Rule != "" {
		x.record.Rule = v.Rule
	}
	return requestRefusal(v)
}

// requestRefusal is nil for a verdict that allows.
func requestRefusal(v policy.Verdict) *refusal {
	if v.Allow {
		return nil
	}
	return &refusal{status: v.Status, reason: reasonOf(v.Reason), hint: v.Hint, challenge: v.Challenge, rule: v.Rule}
}

func cutQuery(target string) (path, query string, found bool) {
	return strings.Cut(target, "?")
}
