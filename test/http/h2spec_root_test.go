// SPDX-License-Identifier: Apache-2.0

//go:build root

package http

import (
	"bytes"
	"crypto/tls"
	"encoding/xml"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// TestH7H2spec: h2spec finds no more fault with the proxy, asked inside a
// session, than with net/http, asked in the same world.
func TestH7H2spec(t *testing.T) {
	program, err := os.ReadFile(installed + "/h2spec")
	if err != nil {
		t.Fatal(err) // see install.sh, group http
	}
	tr := newTrial(t)
	tr.upstream.Serve(provider, http.HandlerFunc(echo)) // h2spec has no key to show
	tr.world.Give(rig.Work+"/h2spec", program, 0o755)
	plain, plainTotal := tr.plainH2spec()
	proxied, total := tr.sessionH2spec()
	t.Logf("of %d cases net/http fails %d %q", plainTotal, len(plain), plain)
	t.Logf("of %d cases the proxy fails %d %q", total, len(proxied), proxied)
	if total != plainTotal || total < 140 {
		t.Errorf("%d and %d cases were run", plainTotal, total)
	}
	if len(proxied) > len(plain) {
		t.Errorf("the proxy fails %d cases, net/http %d", len(proxied), len(plain))
	}
}

// plainH2spec asks a server of net/http.
func (tr *trial) plainH2spec() (failed []string, total int) {
	tr.Helper()
	authority, err := rig.NewAuthority()
	if err != nil {
		tr.Fatal(err)
	}
	l, err := tr.world.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tr.Fatal(err)
	}
	server := &http.Server{
		Handler:  http.HandlerFunc(echo),
		ErrorLog: log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return authority.Leaf(provider)
		}},
	}
	go server.ServeTLS(l, "", "")
	tr.Cleanup(func() { server.Close() })
	_, port, _ := net.SplitHostPort(l.Addr().String())
	report := filepath.Join(tr.TempDir(), "report.xml")
	cmd := exec.Command(rig.Work+"/h2spec", "-h", "127.0.0.1", "-p", port, "-t", "-k", "-j", report)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	var exit *exec.ExitError
	if err := tr.world.Do(cmd.Run); err != nil && !errors.As(err, &exit) { // it ends with 1 for any failure
		tr.Fatalf("h2spec: %v\n%s", err, out.Bytes())
	}
	return failures(tr.T, tr.world.Read(report))
}

// sessionH2spec asks the proxy. The host has no credential, so that h2spec's
// requests are let through.
func (tr *trial) sessionH2spec() (failed []string, total int) {
	tr.Helper()
	r := tr.world.Run(rig.Session{
		Policy: "version: 1\negress:\n  - host: " + provider + "\n    allow: [\"* *\"]\n" + tr.upstream.Hosts(),
		Args:   []string{"./h2spec", "-h", provider, "-p", "443", "-t", "-k", "-j", "report.xml"},
	})
	report := tr.world.Read(rig.Work + "/report.xml")
	if report == nil {
		tr.Fatalf("h2spec in a session: %v", r)
	}
	return failures(tr.T, report)
}

// failures reads the JUnit report of h2spec.
func failures(t *testing.T, report []byte) (failed []string, total int) {
	t.Helper()
	var suites struct {
		Suites []struct {
			ID    string `xml:"package,attr"`
			Cases []struct {
				Name    string    `xml:"classname,attr"`
				Failure *struct{} `xml:"failure"`
				Error   *struct{} `xml:"error"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(report, &suites); err != nil {
		t.Fatalf("read report: %v\n%.500s", err, report)
	}
	for _, s := range suites.Suites {
		for _, c := range s.Cases {
			total++
			if c.Failure != nil || c.Error != nil {
				failed = append(failed, s.ID+" "+c.Name)
			}
		}
	}
	return failed, total
}
