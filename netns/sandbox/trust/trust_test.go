// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An authority is a session CA made like proxy/ca makes one, name constraints included.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB, subject pkix.Name) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: subject,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
		PermittedDNSDomainsCritical: true, PermittedDNSDomains: []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

func encode(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func (a *authority) pem() []byte { return encode(a.cert.Raw) }

// leaf returns the certificate and key of a server called localhost.
func (a *authority) leaf(t testing.TB) (der []byte, key *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err = x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der, key
}

// A world is a fake root. Its owner counts as root; a directory in "open" can be written by
// everybody, which is all that makes a place the user's.
type world struct {
	t   *testing.T
	dir string
	ca  *authority
}

func newWorld(t *testing.T) *world {
	w := &world{t, t.TempDir(), newAuthority(t, pkix.Name{CommonName: "phantom-ns session CA"})}
	w.chmod("/", 0o755)
	return w
}

func (w *world) at(name string) string { return filepath.Join(w.dir, name) }

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) mkdir(names ...string) {
	w.t.Helper()
	for _, name := range names {
		w.check(os.MkdirAll(w.at(name), 0o755))
	}
}

func (w *world) chmod(name string, mode os.FileMode) {
	w.t.Helper()
	w.check(os.Chmod(w.at(name), mode))
}

func (w *world) file(name, content string) {
	w.t.Helper()
	w.mkdir(filepath.Dir(name))
	w.check(os.WriteFile(w.at(name), []byte(content), 0o644))
}

func (w *world) link(name, target string) {
	w.t.Helper()
	w.mkdir(filepath.Dir(name))
	w.check(os.Symlink(target, w.at(name)))
}

// open makes a directory that everybody can write.
func (w *world) open(name string) {
	w.t.Helper()
	w.mkdir(name)
	w.chmod(name, 0o777)
}

func (w *world) options() Options {
	return Options{
		SystemRoots: []byte("# roots\n"), CA: w.ca.pem(), Home: "/home/u", Dir: "/home/u/project",
		UID: 1000, Root: w.dir, owner: uint32(os.Getuid()),
	}
}

func (w *world) build(o Options) *Plan {
	w.t.Helper()
	p, err := Build(o)
	w.check(err)
	return p
}

func (w *world) tree() *tree {
	w.t.Helper()
	t, err := openTree(w.dir, uint32(os.Getuid()))
	w.check(err)
	w.t.Cleanup(t.close)
	return t
}

func paths(p *Plan, k kind) []string {
	var list []string
	for _, t := range p.targets {
		if t.kind == k {
			list = append(list, t.path)
		}
	}
	return list
}

func warned(p *Plan, parts ...string) bool {
	for _, warning := range p.Warnings {
		all := true
		for _, part := range parts {
			all = all && strings.Contains(warning, part)
		}
		if all {
			return true
		}
	}
	return false
}

func TestBuildRefuses(t *testing.T) {
	w := newWorld(t)
	for name, change := range map[string]func(*Options){
		"uid 0":            func(o *Options) { o.UID = 0 },
		"no CA":            func(o *Options) { o.CA = nil },
		"two certificates": func(o *Options) { o.CA = append(o.CA, o.CA...) },
		"a key":            func(o *Options) { o.CA = pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: []byte{1}}) },
		"junk certificate": func(o *Options) { o.CA = encode([]byte("junk")) },
		"no such root":     func(o *Options) { o.Root = w.at("missing") },
	} {
		t.Run(name, func(t *testing.T) {
			o := w.options()
			change(&o)
			if _, err := Build(o); err == nil {
				t.Fatal("accepted")
			}
		})
	}
}

func TestBundleJoinsOnLineBoundary(t *testing.T) {
	w := newWorld(t)
	o := w.options()
	o.SystemRoots = []byte("no newline")
	if got, want := string(w.build(o).bundle()), "no newline\n"+string(w.ca.pem()); got != want {
		t.Fatalf("bundle %q, want %q", got, want)
	}
}

func TestWarningsAreBoundedAndQuoted(t *testing.T) {
	p := &Plan{seen: map[string]bool{}}
	for i := range 100 {
		p.skip("x", &refusal{strings.Repeat("\x1b\n", 500) + string(rune('a'+i%26)) + string(rune('a'+i/26)), "why"})
	}
	if len(p.Warnings) != maxWarnings+1 {
		t.Fatalf("%d warnings", len(p.Warnings))
	}
	for _, warning := range p.Warnings {
		if strings.ContainsAny(warning, "\x1b\n") || len(warning) > 1200 {
			t.Fatalf("warning %q", warning)
		}
	}
}

func TestEnvTable(t *testing.T) {
	seen := map[string]bool{}
	for i, v := range variables {
		if seen[v.name] || v.reason == "" || Env()[i] != v.name+"="+v.value {
			t.Errorf("row %d: %+v", i, v)
		}
		seen[v.name] = true
		if v.value != CAPath && v.value != BundlePath && v.value != "1" {
			t.Errorf("%s=%s", v.name, v.value)
		}
	}
}
