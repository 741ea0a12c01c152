// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
)

// worldCA is a certificate authority whose leaves can have any fault.
type worldCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newWorldCA(t *testing.T, change func(*x509.Certificate)) *worldCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "world"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &worldCA{cert, key}
}

func (w *worldCA) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.cert.Raw})
}

func (w *worldCA) leaf(t *testing.T, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{apiHost}, KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, w.cert, w.key.Public(), w.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: w.key}
}

// TestT1CertificateFaults: an upstream whose certificate is not good for the
// name gets a hello and no byte of the request.
func TestT1CertificateFaults(t *testing.T) {
	good, other := newWorldCA(t, nil), newWorldCA(t, nil)
	constrained := newWorldCA(t, func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"elsewhere.test"} })
	expired := newWorldCA(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	for _, c := range []struct {
		name   string
		world  *worldCA
		leaf   tls.Certificate
		change func(*tls.Config)
		status int
	}{
		{"good", good, good.leaf(t, nil), nil, 200},
		{"expired", good, good.leaf(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), nil, 502},
		{"not yet valid", good, good.leaf(t, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }), nil, 502},
		{"other host", good, good.leaf(t, func(c *x509.Certificate) { c.DNSNames = []string{gitHost} }), nil, 502},
		{"common name alone", good, good.leaf(t, func(c *x509.Certificate) { c.DNSNames, c.Subject.CommonName = nil, apiHost }), nil, 502},
		{"wildcard of a label more", good, good.leaf(t, func(c *x509.Certificate) { c.DNSNames = []string{"*.test"} }), nil, 502},
		{"untrusted", good, other.leaf(t, nil), nil, 502},
		{"client's usage", good, good.leaf(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), nil, 502},
		{"name constraints", constrained, constrained.leaf(t, nil), nil, 502},
		{"authority expired", expired, expired.leaf(t, nil), nil, 502},
		{"TLS 1.1", good, good.leaf(t, nil), func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, 502},
	} {
		t.Run(c.name, func(t *testing.T) {
			var application atomic.Int64
			address := byteCounter(t, c.leaf, c.change, &application)
			session := testSession(address, address)
			for i := range session.Hosts {
				session.Hosts[i].CA, session.Hosts[i].CAFile = c.world.pem(), "world.pem"
			}
			r := newRig(t, session, newAuthority(t), nil)
			resp, body := r.do(r.client(true), call{method: "POST", body: "x", url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+placeholder)})
			if resp.StatusCode != c.status {
				t.Fatalf("status %d %s\n%s", resp.StatusCode, body, r.logs.String())
			}
			if c.status == 200 {
				return
			}
			if reason := r.refusedPage(body, 1); reason != string(audit.ReasonUpstreamTLS) {
				t.Errorf("reason %s\n%s", reason, r.logs.String())
			}
			if n := application.Load(); n != 0 {
				t.Errorf("%d application bytes were sent", n)
			}
		})
	}
}

// byteCounter is a TLS upstream that counts what it is sent above TLS.
func byteCounter(t *testing.T, leaf tls.Certificate, change func(*tls.Config), n *atomic.Int64) string {
	t.Helper()
	config := &tls.Config{Certificates: []tls.Certificate{leaf}}
	if change != nil {
		change(config)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serveCounted(tls.Server(conn, config), n)
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

func serveCounted(conn *tls.Conn, n *atomic.Int64) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 4096)
	m, err := conn.Read(buf)
	n.Add(int64(m))
	if err == nil {
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
	}
}

// A client need not have X25519: Java before 13 has not, nor have those that are
// held to FIPS.
func TestClientsWithOtherCurves(t *testing.T) {
	r, _, _ := newWorld(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, curve := range []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521} {
			config := r.tlsConfig(apiHost, "http/1.1")
			config.CurvePreferences, config.MaxVersion = []tls.CurveID{curve}, version
			conn := tls.Client(r.dial(netip.AddrPortFrom(synthetic(apiHost), 443)), config)
			if err := conn.Handshake(); err != nil {
				t.Errorf("%s with %s: %v", tls.VersionName(version), curve, err)
				continue
			}
			if resp, _ := r.rawOn(conn, request(apiHost)); resp.StatusCode != 200 {
				t.Errorf("%s with %s: status %d", tls.VersionName(version), curve, resp.StatusCode)
			}
		}
	}
	// What costs least is taken of a client that has all.
	if got := r.dialTLS(apiHost, "http/1.1").ConnectionState().CurveID; got != tls.X25519 {
		t.Errorf("%s of a client that has all", got)
	}
}

// TestPlaintextUpstream: an upstream that does not speak TLS at all.
func TestPlaintextUpstream(t *testing.T) {
	plain := newRecorder(t, nil, nil)
	plain.respond = nil
	r := newRig(t, testSession(plain.address(), plain.address()), newAuthority(t), nil)
	up := make(chan struct{})
	go func() {
		defer close(up)
		resp, body := r.do(r.client(false), call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+placeholder)})
		if resp.StatusCode != 502 {
			t.Errorf("%d %s", resp.StatusCode, body)
		}
	}()
	<-up
	r.noLeak(plain.seen())
}

// TestUpstreamResumes: the second connection to an upstream resumes the first,
// with the same name only.
func TestUpstreamResumes(t *testing.T) {
	world := newAuthority(t)
	var resumed atomic.Int64
	up := newRecorder(t, world, func(c *tls.Config) {
		c.VerifyConnection = func(s tls.ConnectionState) error {
			if s.DidResume {
				resumed.Add(1)
			}
			return nil
		}
	})
	r := newRig(t, testSession(up.address(), up.address()), world, nil)
	client := r.client(false)
	for range 2 {
		r.do(client, call{url: "https://" + apiHost + "/", header: one("Authorization", "Bearer "+placeholder)})
		r.server.current.Load().upstream.common.CloseIdleConnections()
	}
	if resumed.Load() == 0 {
		t.Error("no connection was resumed")
	}
}
