// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
)

// extensionECH is encrypted_client_hello (RFC 9849): an inner name that cannot
// be judged.
const extensionECH = 0xfe0d

// maxHello bounds the bytes read before a hello is complete. crypto/tls takes
// handshake messages up to 64 KiB; records of one byte each cost five more.
const maxHello = 512 << 10

var errPeeked = errors.New("hello seen")

// helloConn lets crypto/tls parse a hello: it keeps what is read, and nothing
// is written.
type helloConn struct {
	net.Conn
	seen bytes.Buffer
}

func (c *helloConn) Read(p []byte) (int, error) {
	if c.seen.Len() > maxHello {
		return 0, io.ErrShortBuffer
	}
	n, err := c.Conn.Read(p)
	c.seen.Write(p[:n])
	return n, err
}

func (c *helloConn) Write(p []byte) (int, error) { return len(p), nil }

// servePassthrough splices TLS that it does not terminate, after the hello has
// named the connection's name and hides no other.
func (s *Server) servePassthrough(c *agentConn) {
	c.SetDeadline(c.start.Add(handshakeTimeout))
	peek := &helloConn{Conn: c.Conn}
	reason := audit.ReasonHandshake
	err := tls.Server(peek, &tls.Config{
		MinVersion: tls.VersionTLS10, // the upstream's to decide
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			reason = checkServerName(hello.ServerName, c.host)
			if reason == "" && slices.Contains(hello.Extensions, extensionECH) {
				reason = audit.ReasonBadName
			}
			return nil, errPeeked
		},
	}).HandshakeContext(s.ctx)
	if !errors.Is(err, errPeeked) || reason != "" {
		alert(c, reason)
		c.note(reason, 0, 0)
		c.Close()
		return
	}
	c.SetDeadline(time.Time{})
	s.tunnel(c, peek.seen.Bytes())
}

// alert tells the client why, in the clear as every alert before the first key:
// unrecognized_name, or handshake_failure.
func alert(c *agentConn, reason audit.Reason) {
	description := byte(112)
	if reason == audit.ReasonHandshake {
		description = 40
	}
	c.Conn.Write([]byte{21, 3, 3, 0, 2, 2, description})
}

// serveTCP splices bytes without reading them.
func (s *Server) serveTCP(c *agentConn) { s.tunnel(c, nil) }

// tunnel dials the connection's name or declared address and splices, first
// with the bytes already read.
func (s *Server) tunnel(c *agentConn, first []byte) {
	up, err := s.dialTunnel(c)
	if err != nil {
		r := dialRefusal(err)
		s.logger.Info("dial", "id", c.id, "host", c.host, "error", err)
		c.refuse(r.reason)
		return
	}
	stop := context.AfterFunc(s.ctx, func() { up.Close() })
	defer stop()
	var in, out int64
	if _, err := up.Write(first); err == nil {
		in, out = s.splice(c.Conn, up)
	}
	up.Close()
	c.note(audit.ReasonAllowed, in+int64(len(first)), out)
	c.Close()
}

// splice lets the kernel move the bytes where the session has the descriptors that
// this takes; else they are copied here.
func (s *Server) splice(a, b net.Conn) (ab, ba int64) {
	share := s.slots.room.share
	if !share.take(pipesOfTunnel) {
		return Splice(copied{a}, copied{b})
	}
	defer share.give(pipesOfTunnel)
	return Splice(a, b)
}

// copied hides from [io.Copy] what the connection is.
type copied struct{ net.Conn }

// CloseWrite ends one direction, where the connection can do that.
func (c copied) CloseWrite() error {
	if half, ok := c.Conn.(closeWriter); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

func (s *Server) dialTunnel(c *agentConn) (net.Conn, error) {
	dialer := c.generation.upstream.dialer // of the rules that allow c
	if c.named {
		return dialer.dialName(s.ctx, "tcp", joinHostPort(c.host, c.port))
	}
	return dialer.dialAddress(s.ctx, netip.AddrPortFrom(c.origin.Dst.Addr().Unmap(), c.port))
}
