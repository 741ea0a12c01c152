// SPDX-License-Identifier: Apache-2.0

//go:build root

// The clients here are what make test installs; they need no root themselves.

package ca

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// outside is a name that no authority here is for. The server shows a leaf for
// it all the same, signed past every check of ours.
const outside = "bank.example"

// authorities are the forms a session's authority takes, with the hosts a
// client must accept of each.
func authorities(t *testing.T) map[string]*Authority {
	return map[string]*Authority{
		"unconstrained": authority(t),
		"constrained":   authority(t, "api.openai.com", "*.docs.example", longHost),
	}
}

var accepted = []string{"api.openai.com", "x.docs.example", longHost}

// forge makes a leaf as mint does, without its checks.
func forge(t testing.TB, a *Authority, host string) *tls.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, a.leafTemplate(host), a.certificate, a.leafKey.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.leafKey}
}

func need(t *testing.T, tool string) string {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err == nil {
		return path
	}
	t.Fatal(err, "(make test installs it)")
	return ""
}

func writePEM(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestT4OpenSSLStrict(t *testing.T) {
	openssl := need(t, "openssl")
	for name, a := range authorities(t) {
		t.Run(name, func(t *testing.T) {
			authorityFile := writePEM(t, "ca.pem", a.PEM())
			check := func(der []byte, host string) (string, error) {
				leaf := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
				out, err := exec.Command(openssl, "verify", "-x509_strict", "-check_ss_sig", "-purpose", "sslserver",
					"-no-CApath", "-no-CAstore", "-CAfile", authorityFile, "-verify_hostname", host,
					writePEM(t, "leaf.pem", leaf)).CombinedOutput()
				return string(out), err
			}
			for _, host := range accepted {
				if out, err := check(leafOf(t, a, host).Certificate[0], host); err != nil {
					t.Errorf("%.20s: %v: %s", host, err, out)
				}
			}
			if _, err := check(leafOf(t, a, accepted[0]).Certificate[0], accepted[1]); err == nil {
				t.Error("a leaf is good for another name")
			}
			out, err := check(forge(t, a, outside).Certificate[0], outside)
			if (err == nil) != (name == "unconstrained") {
				t.Errorf("%s: %v: %s", outside, err, out)
			}
		})
	}
}

// TestOpenSSLNameHash proves that the subject is its own canonical form: the
// hash names the file in a hashed directory.
func TestOpenSSLNameHash(t *testing.T) {
	openssl := need(t, "openssl")
	a := authority(t)
	out, err := exec.Command(openssl, "x509", "-in", writePEM(t, "ca.pem", a.PEM()), "-noout", "-subject",
		"-nameopt", "RFC2253").Output()
	want := "subject=" + a.certificate.Subject.String() + "\n"
	if err != nil || string(out) != want || strings.ToLower(want[len("subject=CN="):]) != want[len("subject=CN="):] {
		t.Errorf("got %q %v, want %q", out, err, want)
	}
}

// serve accepts TLS with the leaf of whatever name is asked, and returns the
// port.
func serve(t *testing.T, a *Authority) string {
	t.Helper()
	config := &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if hello.ServerName == outside {
			return forge(t, a, outside), nil
		}
		return a.Leaf(hello.ServerName)
	}}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wait.Go(func() {
				defer conn.Close()
				// The client's own verdict is what is tested.
				_ = tls.Server(conn, config).Handshake()
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		wait.Wait()
	})
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestT4ClientsOfOtherLanguages(t *testing.T) {
	python := []string{"python3", "testdata/client.py"}
	java := []string{"java", "-XX:TieredStopAtLevel=1", "testdata/Client.java"}
	kinds := authorities(t)
	for name, test := range map[string]struct {
		command []string
		kind    string
		refused bool // outside, which is asked for where it has one answer
	}{
		"python":              {python, "unconstrained", false},
		"python, constrained": {python, "constrained", true},
		"java":                {java, "unconstrained", false},
		// Java applies no constraints of a trust anchor, which RFC 5280,
		// section 6.2, leaves to each program: outside would be accepted.
		"java, constrained": {java, "constrained", false},
	} {
		t.Run(name, func(t *testing.T) {
			a := kinds[test.kind]
			hosts, want := accepted, strings.Join(accepted, " ok\n")+" ok\n"
			if test.refused {
				hosts, want = append(slices.Clone(hosts), outside), want+outside+" refused\n"
			}
			args := slices.Concat(test.command[1:], []string{writePEM(t, "ca.pem", a.PEM()), serve(t, a)}, hosts)
			run := exec.Command(need(t, test.command[0]), args...)
			var stderr bytes.Buffer
			run.Stderr = &stderr
			out, err := run.Output()
			if err != nil || string(out) != want {
				t.Errorf("%v: got %s\nwant %s\n%s", err, out, want, stderr.Bytes())
			}
		})
	}
}
