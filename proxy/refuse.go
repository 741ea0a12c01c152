// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
	"github.com/phantom-ns/phantom-ns/proxy/swap"
)

// refusal is a request that is not served. The agent reads status, reason and
// hint, all of them ours; cause goes to the operators' log alone.
type refusal struct {
	status    int
	reason    audit.Reason
	hint      string
	challenge string // WWW-Authenticate
	rule      string
	cause     error
}

// page is the body of a refusal.
type page struct {
	Error  string       `json:"error"`
	Reason audit.Reason `json:"reason"`
	Host   string       `json:"host"`
	Hint   string       `json:"hint,omitempty"`
	ID     string       `json:"id"`
}

// refuse answers x with a refusal, or ends the answer when it has begun.
func (s *Server) refuse(x *exchange, r *refusal) error {
	x.record.Verdict, x.record.Reason = audit.Deny, r.reason
	if r.rule != "" {
		x.record.Rule = r.rule
	}
	if r.cause != nil {
		s.logger.Info("refuse request", "id", x.record.ID, "host", x.conn.host, "reason", string(r.reason), "error", r.cause)
	}
	if x.begun {
		return errAbort
	}
	x.record.Status, x.begun = r.status, true
	body, err := json.Marshal(page{http.StatusText(r.status), r.reason, x.conn.host, r.hint, x.record.ID})
	if err != nil {
		return errAbort
	}
	header := http.Header{
		"Content-Type":  {"application/json"},
		"Cache-Control": {"no-store"},
	}
	if r.challenge != "" {
		header["Www-Authenticate"] = []string{r.challenge}
	}
	bodyless := x.method == http.MethodHead
	if err := x.out.head(r.status, header, int64(len(body)), bodyless); err != nil {
		return errAbort
	}
	if !bodyless {
		n, err := x.out.Write(body)
		x.sent += int64(n)
		if err != nil {
			return errAbort
		}
	}
	return x.out.end(nil)
}

// reasonOf takes a reason of the policy, which are words of the record's list.
func reasonOf(reason string) audit.Reason {
	if r := audit.Reason(reason); r.Known() && r != audit.ReasonAllowed {
		return r
	}
	return audit.ReasonInternal
}

func badResponse(text string) *refusal {
	return &refusal{status: http.StatusBadGateway, reason: audit.ReasonBadResponse, cause: errors.New(text)}
}

// headRefusal is the answer to a head that the strict reader refuses.
func headRefusal(err error) *refusal {
	var h *headError
	if !errors.As(err, &h) {
		return &refusal{status: http.StatusBadRequest, reason: audit.ReasonBadRequest, cause: err}
	}
	return &refusal{status: h.status, reason: h.reason, hint: h.text}
}

// sendRefusal is the answer to a request that got no answer from upstream. When
// the agent's own body ended it, that is what it is told.
func sendRefusal(x *exchange, err error) *refusal {
	if x.body != nil {
		if failure := x.body.failure(); failure != nil {
			return bodyRefusal(failure)
		}
	}
	if errors.Is(err, secret.ErrNoValue) && x.finding.Minted() { // clients get themselves another
		return &refusal{status: http.StatusUnauthorized, reason: audit.ReasonCredentialUnavailable, cause: err,
			challenge: `Bearer error="invalid_token"`, hint: "this credential, which an answer had given, has ended"}
	}
	if errors.Is(err, secret.ErrNoValue) || errors.Is(err, swap.ErrUnfit) || errors.Is(err, swap.ErrMint) {
		return &refusal{status: http.StatusBadGateway, reason: audit.ReasonCredentialUnavailable, cause: err,
			hint: "the value of the credential could not be had; the operator's log says why"}
	}
	return dialRefusal(err)
}

func bodyRefusal(failure error) *refusal {
	if errors.Is(failure, os.ErrDeadlineExceeded) {
		return &refusal{status: http.StatusRequestTimeout, reason: audit.ReasonTimeout, cause: failure}
	}
	return &refusal{status: http.StatusBadRequest, reason: audit.ReasonBadFraming, cause: failure}
}

// dialRefusal sorts what can go wrong on the way to an upstream.
func dialRefusal(err error) *refusal {
	r := &refusal{status: http.StatusBadGateway, reason: audit.ReasonUpstreamUnreachable, cause: err}
	var timeout net.Error
	var via *viaError
	switch {
	case errors.As(err, &via):
		r.hint = via.hint()
	case errors.Is(err, errFakeAddress):
		r.reason = audit.ReasonDialRefused
		r.hint = "the resolver answers with fake addresses, as some VPNs do: upstream: {networks: [198.18.0.0/15]} allows them"
	case errors.Is(err, errDialRefused):
		r.reason = audit.ReasonDialRefused
		r.hint = "the name resolves to an address that the policy does not allow for it: see networks"
	case errors.Is(err, errResolve):
		r.reason = audit.ReasonResolve
	case errors.Is(err, errAnswer):
		r.reason = audit.ReasonBadResponse
	case isTLS(err):
		r.reason = audit.ReasonUpstreamTLS
		r.hint = "the upstream's certificate is not acceptable; nothing was sent to it"
	case errors.As(err, &timeout) && timeout.Timeout():
		r.status, r.reason = http.StatusGatewayTimeout, audit.ReasonUpstreamTimeout
	}
	return r
}

func isTLS(err error) bool {
	var (
		verification *tls.CertificateVerificationError
		record       tls.RecordHeaderError
		alert        tls.AlertError
		authority    x509.UnknownAuthorityError
		hostname     x509.HostnameError
		invalid      x509.CertificateInvalidError
		opError      *net.OpError
	)
	if errors.As(err, &opError) && (opError.Op == "remote error" || opError.Op == "local error") {
		return true // crypto/tls's two words for alerts received and sent
	}
	return errors.As(err, &verification) || errors.As(err, &record) || errors.As(err, &alert) ||
		errors.As(err, &authority) || errors.As(err, &hostname) || errors.As(err, &invalid)
}
