// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func authority(t testing.TB, names ...string) *Authority {
	t.Helper()
	a, err := New(Options{Names: names})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func parsePEM(t testing.TB, a *Authority) *x509.Certificate {
	t.Helper()
	block, rest := pem.Decode(a.PEM())
	if block == nil || block.Type != "CERTIFICATE" || len(rest) > 0 {
		t.Fatalf("not one certificate: %q", a.PEM())
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

func TestAuthorityIsWhatClientsAskOfOne(t *testing.T) {
	c := parsePEM(t, authority(t))
	key, ok := c.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		t.Errorf("key %T", c.PublicKey)
	}
	if !c.IsCA || !c.MaxPathLenZero || c.MaxPathLen != 0 || c.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign {
		t.Errorf("CA %v, path length %d, usage %b", c.IsCA, c.MaxPathLen, c.KeyUsage)
	}
	if len(c.SubjectKeyId) == 0 || c.SerialNumber.Sign() <= 0 || c.SerialNumber.BitLen() > 127 {
		t.Errorf("key id % x, serial %v", c.SubjectKeyId, c.SerialNumber)
	}
	if !regexp.MustCompile(`^CN=phantom-ns session [0-9a-f]{16}$`).MatchString(c.Subject.String()) {
		t.Errorf("subject %q", c.Subject)
	}
	if c.PermittedDNSDomainsCritical || len(c.PermittedDNSDomains) > 0 {
		t.Errorf("constrained: %q", c.PermittedDNSDomains)
	}
}

func TestAuthoritiesDiffer(t *testing.T) {
	a, b := parsePEM(t, authority(t)), parsePEM(t, authority(t))
	if a.Subject.String() == b.Subject.String() || a.SerialNumber.Cmp(b.SerialNumber) == 0 {
		t.Errorf("%v %v and %v %v", a.Subject, a.SerialNumber, b.Subject, b.SerialNumber)
	}
	if a.PublicKey.(*ecdsa.PublicKey).Equal(b.PublicKey) {
		t.Error("one key for two")
	}
}

func TestConstraints(t *testing.T) {
	for name, test := range map[string]struct{ names, permitted []string }{
		"exact":               {[]string{"b.test", "a.test"}, []string{"a.test", "b.test"}},
		"wildcard":            {[]string{"*.docs.example"}, []string{"docs.example"}},
		"wildcard and apex":   {[]string{"*.docs.example", "docs.example"}, []string{"docs.example"}},
		"twice":               {[]string{"a.test", "a.test"}, []string{"a.test"}},
		"none permits no one": {[]string{}, []string{"invalid"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := parsePEM(t, authority(t, test.names...))
			if len(test.names) == 0 {
				a, err := New(Options{Names: []string{}})
				if err != nil {
					t.Fatal(err)
				}
				c = parsePEM(t, a)
			}
			if !slices.Equal(c.PermittedDNSDomains, test.permitted) || !c.PermittedDNSDomainsCritical {
				t.Errorf("permitted %q, critical %v", c.PermittedDNSDomains, c.PermittedDNSDomainsCritical)
			}
			if len(c.ExcludedIPRanges) != 2 || len(c.UnhandledCriticalExtensions) > 0 {
				t.Errorf("excluded %v, unhandled %v", c.ExcludedIPRanges, c.UnhandledCriticalExtensions)
			}
		})
	}
}

func TestNamesThatAreNotHostNames(t *testing.T) {
	for _, name := range []string{"", "*", "*.", "*.*.a.test", "a.*.test", "A.test", "a.test.", "1.2.3.4", "a_b.test", "a.test:443"} {
		if _, err := New(Options{Names: []string{"good.test", name}}); err == nil {
			t.Errorf("%q was taken", name)
		}
	}
}

func TestPEMIsACopy(t *testing.T) {
	a := authority(t)
	before := string(a.PEM())
	clear(a.PEM())
	if string(a.PEM()) != before {
		t.Error("the certificate was changed through its copy")
	}
}

// TestKeyIsNotShown looks for the private numbers in whatever prints or
// marshals an authority or a leaf.
func TestKeyIsNotShown(t *testing.T) {
	a := authority(t)
	leaf, err := a.Leaf("a.test")
	if err != nil {
		t.Fatal(err)
	}
	var shown bytes.Buffer
	for _, value := range []any{a, struct{ A *Authority }{a}, &struct{ A *Authority }{a}, leaf.PrivateKey, struct{ K any }{leaf.PrivateKey}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&shown, verb+"\n", value)
		}
		if text, err := json.Marshal(value); err == nil {
			shown.Write(text)
		}
	}
	for _, key := range []*ecdsa.PrivateKey{a.key, a.leafKey.key} {
		raw, err := key.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		number := new(big.Int).SetBytes(raw)
		for _, form := range []string{
			string(raw), fmt.Sprintf("%x", raw), fmt.Sprintf("%X", raw), number.String(), fmt.Sprint(raw), fmt.Sprintf("%#v", raw),
		} {
			if strings.Contains(shown.String(), form[:min(len(form), 24)]) {
				t.Fatalf("a key was printed: %q", shown.String())
			}
		}
	}
	if !strings.Contains(shown.String(), "phantom-ns session") {
		t.Errorf("no name either: %q", shown.String())
	}
}

// verify is a client in Go that knows this authority alone.
func verify(t testing.TB, a *Authority, leaf *x509.Certificate, host string, at time.Time) error {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(parsePEM(t, a))
	_, err := leaf.Verify(x509.VerifyOptions{
		DNSName: host, Roots: roots, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	return err
}

// TestStolenAuthorityIsGoodForItsNamesAlone signs what Leaf would refuse.
func TestStolenAuthorityIsGoodForItsNamesAlone(t *testing.T) {
	for name, test := range map[string]struct {
		names []string
		host  string
		good  bool
	}{
		"its name":       {[]string{"api.test"}, "api.test", true},
		"below":          {[]string{"api.test"}, "x.api.test", true}, // said in Options
		"its parent":     {[]string{"api.test"}, "test", false},
		"lookalike":      {[]string{"api.test"}, "notapi.test", false},
		"another":        {[]string{"api.test"}, "bank.example", false},
		"closed, empty":  {[]string{}, "bank.example", false},
		"an address":     {[]string{"api.test"}, "192.0.2.1", false},
		"v6, empty list": {[]string{}, "2001:db8::1", false},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := New(Options{Names: test.names})
			if err != nil {
				t.Fatal(err)
			}
			template := a.leafTemplate(test.host)
			if ip := net.ParseIP(test.host); ip != nil {
				template.DNSNames, template.IPAddresses = nil, []net.IP{ip}
			}
			der, err := x509.CreateCertificate(nil, template, a.certificate, a.leafKey.Public(), a.key)
			if err != nil {
				t.Fatal(err)
			}
			leaf, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			if err := verify(t, a, leaf, test.host, time.Now()); (err == nil) != test.good {
				t.Errorf("verified: %v", err)
			}
		})
	}
}

// Of one key come certificates that vouch for one another's leaves, and one that
// was made before is used again for as long as it says what a new one would.
func TestAuthorityOfAKeyLastsLongerThanItsProcess(t *testing.T) {
	key := bytes.Repeat([]byte{7}, KeySize)
	first, err := New(Options{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	again, err := New(Options{Key: key, Certificate: first.PEM()})
	if err != nil || !bytes.Equal(first.PEM(), again.PEM()) {
		t.Errorf("the certificate of before is not used again: %v", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(first.PEM())
	for name, change := range map[string]Options{
		"none":     {Key: key},
		"old":      {Key: key, Certificate: first.PEM(), Now: func() time.Time { return time.Now().Add(authorityLife * 9 / 10) }},
		"narrower": {Key: key, Certificate: first.PEM(), Names: []string{"api.example.test"}},
		"another's": {Key: key, Certificate: func() []byte {
			other, err := New(Options{})
			if err != nil {
				t.Fatal(err)
			}
			return other.PEM()
		}()},
		"junk": {Key: key, Certificate: []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")},
	} {
		now, err := New(change)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(first.PEM(), now.PEM()) {
			t.Errorf("%s: the certificate of before is used", name)
		}
		leaf, err := now.Leaf("api.example.test")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := leaf.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "api.example.test", CurrentTime: leaf.Leaf.NotBefore.Add(time.Hour)}); err != nil && name != "old" {
			t.Errorf("%s: who trusts the certificate of before: %v", name, err)
		}
	}
	for _, number := range [][]byte{make([]byte, KeySize), bytes.Repeat([]byte{0xff}, KeySize), {1}} {
		if _, err := New(Options{Key: number}); !errors.Is(err, ErrKey) {
			t.Errorf("key %x: %v", number, err)
		}
	}
}
