// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func leafOf(t testing.TB, a *Authority, host string) *tls.Certificate {
	t.Helper()
	leaf, err := a.Leaf(host)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

// longHost is 253 octets, more than a common name holds.
var longHost = strings.Repeat(strings.Repeat("a", 62)+".", 3) + strings.Repeat("b", 59) + ".test"

func TestLeafIsWhatClientsAskOfOne(t *testing.T) {
	a := authority(t)
	for _, host := range []string{"api.test", "localhost", "xn--bcher-kva.test", "1e100.test", longHost} {
		certificate := leafOf(t, a, host)
		leaf := certificate.Leaf
		if len(certificate.Certificate) != 1 || len(leaf.DNSNames) != 1 || leaf.DNSNames[0] != host {
			t.Errorf("%s: %d certificates, names %q", host, len(certificate.Certificate), leaf.DNSNames)
		}
		if len(leaf.IPAddresses)+len(leaf.URIs)+len(leaf.EmailAddresses) > 0 {
			t.Errorf("%s: more than its name", host)
		}
		if leaf.IsCA || !leaf.BasicConstraintsValid || leaf.KeyUsage != x509.KeyUsageDigitalSignature ||
			len(leaf.ExtKeyUsage) != 1 || leaf.ExtKeyUsage[0] != x509.ExtKeyUsageServerAuth {
			t.Errorf("%s: CA %v, usage %b %v", host, leaf.IsCA, leaf.KeyUsage, leaf.ExtKeyUsage)
		}
		if string(leaf.AuthorityKeyId) != string(a.certificate.SubjectKeyId) || len(leaf.AuthorityKeyId) == 0 {
			t.Errorf("%s: authority key id % x", host, leaf.AuthorityKeyId)
		}
		for _, skew := range []time.Duration{-24 * time.Hour, 0, 24 * time.Hour} { // T5
			if err := verify(t, a, leaf, host, time.Now().Add(skew)); err != nil {
				t.Errorf("%s, clock off by %v: %v", host, skew, err)
			}
		}
	}
}

func TestLeavesShareOneKeyThatIsNotTheAuthoritys(t *testing.T) {
	a := authority(t)
	one, two := leafOf(t, a, "one.test").Leaf, leafOf(t, a, "two.test").Leaf
	key := one.PublicKey.(*ecdsa.PublicKey)
	if !key.Equal(two.PublicKey) || key.Equal(a.key.Public()) || key.Curve != elliptic.P256() {
		t.Error("wrong key")
	}
	if one.SerialNumber.Cmp(two.SerialNumber) == 0 {
		t.Error("one serial number for two")
	}
}

func TestN1NoLeafForWhatIsNotAHostName(t *testing.T) {
	a := authority(t)
	for _, host := range []string{
		"", ".", "a.test.", "A.test", "a..test", ".a.test", "-a.test", "a-.test", "a_b.test", "*.test", "*", "a test", "a\x00.test",
		"a\n.test", "ä.test", "a\x80.test", "a.test:443", "[::1]", "::1", "127.0.0.1", "1", "0x7f000001", "0x7f.1", "a.1", "a.0x",
		"a.test/b", "u@a.test", strings.Repeat("a", 64) + ".test", longHost + "x", strings.Repeat("a", 1<<20),
	} {
		leaf, err := a.Leaf(host)
		if err == nil || leaf != nil {
			t.Errorf("%.40q: got a leaf", host)
		} else if len(err.Error()) > 1100 || strings.ContainsAny(err.Error(), "\n\x00") {
			t.Errorf("%.40q: error %.200q", host, err)
		}
	}
	if n := a.leaves.recent.Len() + len(a.leaves.making); n != 0 {
		t.Errorf("%d kept", n)
	}
}

func TestN4NoLeafForOtherNames(t *testing.T) {
	a := authority(t, "api.openai.com", "*.docs.example")
	for host, want := range map[string]bool{
		"api.openai.com": true, "x.docs.example": true, "y.x.docs.example": true,
		"docs.example": false, "notapi.openai.com": false, "x.api.openai.com": false, "openai.com": false, "com": false,
		"api.openai.com.evil.test": false, "xdocs.example": false, "example": false,
	} {
		if _, err := a.Leaf(host); (err == nil) != want {
			t.Errorf("%s: %v", host, err)
		}
	}
	closed, err := New(Options{Names: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := closed.Leaf("invalid"); err == nil {
		t.Error("an empty list allowed a name")
	}
}

func TestT3CacheIsCapped(t *testing.T) {
	a := authority(t)
	first := leafOf(t, a, "n0.test")
	for i := range MaxLeaves + 50 {
		leafOf(t, a, fmt.Sprintf("n%d.test", i))
		if leafOf(t, a, "n0.test") != first {
			t.Fatal("the leaf used most was made again")
		}
	}
	if n := a.leaves.recent.Len(); n != MaxLeaves || len(a.leaves.byHost) != MaxLeaves {
		t.Errorf("%d and %d kept", n, len(a.leaves.byHost))
	}
	if _, kept := a.leaves.byHost["n1.test"]; kept {
		t.Error("the leaf used least was kept")
	}
}

func TestLeafIsMadeOnceForAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := authority(t)
		made, finish := 0, make(chan struct{})
		mint := func(host string) (*tls.Certificate, error) {
			made++
			<-finish
			return a.mint(host)
		}
		var wait sync.WaitGroup
		results := make([]*tls.Certificate, 16)
		for i := range results {
			wait.Go(func() { results[i], _ = a.leaves.get("a.test", time.Now(), mint) })
		}
		synctest.Wait() // all but one for that one
		close(finish)
		wait.Wait()
		if made != 1 {
			t.Errorf("made %d times", made)
		}
		for _, result := range results {
			if result == nil || result != results[0] {
				t.Error("not the one leaf")
			}
		}
	})
}

func TestAFailureIsNotKept(t *testing.T) {
	a := authority(t)
	failure := errors.New("no")
	if _, err := a.leaves.get("a.test", time.Now(), func(string) (*tls.Certificate, error) { return nil, failure }); err != failure {
		t.Fatal(err)
	}
	leafOf(t, a, "a.test")
}

func TestAPanicLeavesNobodyWaiting(t *testing.T) {
	a := authority(t)
	func() {
		defer func() { recover() }()
		a.leaves.get("a.test", time.Now(), func(string) (*tls.Certificate, error) { panic("mint") })
	}()
	leafOf(t, a, "a.test")
}

func TestT5LeafIsAlwaysFresh(t *testing.T) {
	clock := time.Now()
	a, err := New(Options{Now: func() time.Time { return clock }})
	if err != nil {
		t.Fatal(err)
	}
	day := 24 * time.Hour
	first := leafOf(t, a, "a.test")
	for _, step := range []struct {
		name string
		to   time.Duration
		same bool
	}{
		{"an hour later", time.Hour, true},
		{"six days later", 6 * day, true},
		{"eight days later", 8 * day, false},
		{"a year later", 365 * day, false},
		{"the clock is set back to the start", 0, false},
		{"and half a day more", -day / 2, true},
		{"and a day and a half", -3 * day / 2, false},
	} {
		at := step.to
		clock = time.Now().Add(at)
		leaf := leafOf(t, a, "a.test")
		if (leaf == first) != step.same {
			t.Errorf("%s: same leaf %v", step.name, leaf == first)
		}
		first = leaf
		for _, skew := range []time.Duration{0, 6 * day} {
			if err := verify(t, a, leaf.Leaf, "a.test", clock.Add(skew)); err != nil {
				t.Errorf("%s, and %v: %v", step.name, skew, err)
			}
		}
	}
	if a.leaves.recent.Len() != 1 {
		t.Errorf("%d kept for one name", a.leaves.recent.Len())
	}
}

func TestLeavesUnderConcurrency(t *testing.T) {
	a := authority(t)
	var wait sync.WaitGroup
	for worker := range 4 {
		wait.Go(func() {
			for i := range 200 {
				host := fmt.Sprintf("n%d.test", (i*7+worker)%50)
				if leaf, err := a.Leaf(host); err != nil || leaf.Leaf.DNSNames[0] != host {
					t.Errorf("%s: %v %v", host, leaf, err)
				}
			}
		})
	}
	wait.Wait()
}

func FuzzCheckName(f *testing.F) {
	for _, host := range []string{"a.test", "1.2.3.4", "a..b", longHost, "xn--a", "*"} {
		f.Add(host)
	}
	f.Fuzz(func(t *testing.T, host string) {
		if checkName(host) != nil {
			return
		}
		if strings.ToLower(host) != host || strings.ContainsAny(host, " *:/@%[]\x00\n") || strings.HasSuffix(host, ".") {
			t.Fatalf("%q passed", host)
		}
	})
}

func BenchmarkLeafCached(b *testing.B) {
	a := authority(b)
	leafOf(b, a, "a.test")
	b.ReportAllocs()
	for b.Loop() {
		a.Leaf("a.test")
	}
}

func BenchmarkLeafMinted(b *testing.B) {
	a := authority(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := a.Leaf(fmt.Sprintf("n%d.test", i)); err != nil {
			b.Fatal(err)
		}
	}
}
