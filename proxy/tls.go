// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"crypto/tls"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// serveTLS terminates TLS for the one name behind the connection's address.
func (s *Server) serveTLS(c *agentConn) {
	c.SetDeadline(c.start.Add(handshakeTimeout))
	conn := tls.Server(c, &tls.Config{
		MinVersion: tls.VersionTLS12,
		// Called for every hello, also one that resumes, unlike GetCertificate.
		GetConfigForClient:     s.configForClient,
		SessionTicketsDisabled: true,
	})
	ctx, cancel := context.WithTimeout(s.ctx, handshakeTimeout)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		reason := c.refused
		if reason == "" {
			reason = audit.ReasonHandshake
		}
		s.logger.Debug("agent's handshake", "id", c.id, "error", err)
		c.note(reason, 0, 0)
		c.Close() // not a reset: the alert is still on its way
		return
	}
	c.SetDeadline(time.Time{})
	if conn.ConnectionState().NegotiatedProtocol == "h2" {
		s.serveH2(c, conn)
		return
	}
	s.serveH1(c, conn, "https")
}

// configForClient admits a hello whose server name is the connection's name.
// Any other gets a configuration without a certificate, which crypto/tls
// answers with the alert unrecognized_name (RFC 6066 section 3).
func (s *Server) configForClient(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	c := hello.Conn.(*agentConn)
	if c.refused = checkServerName(hello.ServerName, c.host); c.refused != "" {
		return &tls.Config{MinVersion: tls.VersionTLS12, SessionTicketsDisabled: true}, nil
	}
	leaf, err := s.ca.Leaf(c.host)
	if err != nil {
		c.refused = audit.ReasonInternal
		return nil, err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{*leaf},
		MinVersion:   tls.VersionTLS12,
		NextProtos:   s.protocols(),
		// This leg is loopback: ML-KEM would cost 16 % of a cold request. Java before
		// 13, and whatever is held to FIPS, has no X25519.
		CurvePreferences:       []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521},
		SessionTicketsDisabled: true,
	}, nil
}

// checkServerName returns why a server name is refused, or "". The name is the
// client's bytes: crypto/tls passes NUL, "*" and 300 octets on.
func checkServerName(sni, host string) audit.Reason {
	if sni == "" {
		return audit.ReasonNoSNI
	}
	name, err := policy.Canonical(sni)
	if err != nil {
		return audit.ReasonBadName
	}
	if name != host {
		return audit.ReasonNameMismatch
	}
	return ""
}
