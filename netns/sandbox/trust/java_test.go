// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pavlo-v-chernykh/keystore-go/v4"
	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

func makeStore(t testing.TB, entries ...entry) []byte {
	t.Helper()
	data, err := writeStore(entries)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// makePKCS12 encodes a store as JDK 18 and later do when there is no password.
func makePKCS12(kind asn1.ObjectIdentifier, entries ...entry) []byte {
	var b cryptobyte.Builder
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(3)
		addContent(b, oidData, func(b *cryptobyte.Builder) {
			b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
				addContent(b, kind, func(b *cryptobyte.Builder) {
					b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
						for _, e := range entries {
							addBag(b, e)
						}
					})
				})
			})
		})
	})
	return b.BytesOrPanic()
}

func addContent(b *cryptobyte.Builder, kind asn1.ObjectIdentifier, f cryptobyte.BuilderContinuation) {
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(kind)
		b.AddASN1(explicit, func(b *cryptobyte.Builder) { b.AddASN1(der.OCTET_STRING, f) })
	})
}

func addBag(b *cryptobyte.Builder, e entry) {
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oidCertBag)
		b.AddASN1(explicit, func(b *cryptobyte.Builder) {
			addContent(b, oidX509, func(b *cryptobyte.Builder) { b.AddBytes(e.der) })
		})
		if e.alias == "" {
			return
		}
		b.AddASN1(der.SET, func(b *cryptobyte.Builder) {
			b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(oidFriendlyName)
				b.AddASN1(der.SET, func(b *cryptobyte.Builder) {
					b.AddASN1(tagBMP, func(b *cryptobyte.Builder) { b.AddBytes([]byte(utf16BE(e.alias))) })
				})
			})
		})
	})
}

// aliases reads a cover as a JVM would: with the digest checked.
func aliases(t *testing.T, data []byte) []string {
	t.Helper()
	ks := keystore.New(keystore.WithOrderedAliases())
	if err := ks.Load(bytes.NewReader(data), []byte(storePassword)); err != nil {
		t.Fatal(err)
	}
	return ks.Aliases()
}

var when = time.UnixMilli(1_700_000_000_000)

func TestJavaStoreKeepsEveryEntry(t *testing.T) {
	w := newWorld(t)
	p := w.build(w.options())
	a, b := entry{"a", when, []byte("A")}, entry{"b", when, []byte("B")}
	for name, c := range map[string]struct {
		data []byte
		want []string
	}{
		"JKS":               {makeStore(t, a, b), []string{"a", "b", sessionAlias}},
		"empty JKS":         {makeStore(t), []string{sessionAlias}},
		"PKCS12":            {makePKCS12(oidData, a, b), []string{"a", "b", sessionAlias}},
		"PKCS12 same alias": {makePKCS12(oidData, a, entry{"A", when, []byte("B")}), []string{"a", "a-2", sessionAlias}},
		"PKCS12 unnamed":    {makePKCS12(oidData, entry{"", when, []byte("A")}), []string{sessionAlias, "unnamed-000"}},
		"alias taken":       {makeStore(t, entry{sessionAlias, when, []byte("A")}), []string{sessionAlias, sessionAlias + "-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			cover, err := p.javaStore("/cacerts", c.data)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "aliases", aliases(t, cover), c.want)
			same(t, "warnings", p.Warnings, nil)
			ks := keystore.New()
			_ = ks.Load(bytes.NewReader(cover), []byte(storePassword))
			if e, err := ks.GetTrustedCertificateEntry(sessionAlias); err != nil || !bytes.Equal(e.Certificate.Content, w.ca.cert.Raw) {
				t.Errorf("session CA is not under its alias: %v", err)
			}
		})
	}
}

func TestUnreadableJavaStoreGetsTheHostsRoots(t *testing.T) {
	w := newWorld(t)
	o := w.options()
	o.SystemRoots = append(w.ca.pem(), w.ca.pem()...)
	p := w.build(o)
	cover, err := p.javaStore("/opt/\x1bjdk/cacerts", makePKCS12(oidEncrypted, entry{"a", when, []byte("A")}))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "aliases", aliases(t, cover), []string{sessionAlias, "system-root-000", "system-root-001"})
	if !warned(p, `\x1bjdk`, errEncrypted.Error()) {
		t.Errorf("warnings %q", p.Warnings)
	}
}

func TestPrivateKeysAreNotCarried(t *testing.T) {
	ks := keystore.New()
	chain := []keystore.Certificate{{Type: "X.509", Content: []byte("C")}}
	if err := ks.SetPrivateKeyEntry("key", keystore.PrivateKeyEntry{CreationTime: when, PrivateKey: []byte("PRIVATE"), CertificateChain: chain}, []byte("password")); err != nil {
		t.Fatal(err)
	}
	if err := ks.SetTrustedCertificateEntry("cert", keystore.TrustedCertificateEntry{CreationTime: when, Certificate: chain[0]}); err != nil {
		t.Fatal(err)
	}
	var data bytes.Buffer
	// Another password than the usual: a JVM does not ask, so neither may this.
	if err := ks.Store(&data, []byte("password")); err != nil {
		t.Fatal(err)
	}
	entries, err := readStore(data.Bytes())
	if err != nil || len(entries) != 1 || entries[0].alias != "cert" || !entries[0].added.Equal(when) {
		t.Fatalf("entries %v, error %v", entries, err)
	}
}

func TestHostileStoresAreRefused(t *testing.T) {
	good := makeStore(t, entry{"a", when, []byte("A")})
	huge := bytes.Clone(good)
	copy(huge[8:], "\xff\xff\xff\xff") // entries
	long := bytes.Clone(good)
	copy(long[4+4+4+4+3+8+7:], "\xff\xff\xff\xff") // length of the certificate
	many := make([]entry, maxEntries+1)
	for i := range many {
		many[i] = entry{fmt.Sprint(i), when, []byte("A")}
	}
	version := bytes.Clone(good)
	version[7] = 9
	for name, data := range map[string][]byte{
		"empty": nil, "text": []byte("root:x:0:0:"), "entries": huge, "length": long, "version": version,
		"too many": makeStore(t, many...), "too many in PKCS12": makePKCS12(oidData, many...),
		"cut": good[:30], "magic alone": good[:4], "PKCS12 cut": makePKCS12(oidData, entry{"a", when, []byte("A")})[:40],
	} {
		t.Run(name, func(t *testing.T) {
			if entries, err := readStore(data); err == nil || errors.Is(err, errEncrypted) {
				t.Fatalf("entries %v, error %v", entries, err)
			}
		})
	}
}

func FuzzReadStore(f *testing.F) {
	f.Add(makeStore(f, entry{"a", when, []byte("A")}))
	f.Add(makePKCS12(oidData, entry{"a", when, []byte("A")}))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := readStore(data)
		if err != nil {
			return
		}
		for _, e := range entries {
			if len(e.der) == 0 || len(e.alias) > 3*len(data) {
				t.Fatalf("entry %q", e.alias)
			}
		}
	})
}

func TestJavaStoresAreFoundOnlyWithAJVM(t *testing.T) {
	w := newWorld(t)
	store := string(makeStore(t, entry{"a", when, []byte("A")}))
	w.file("/etc/ssl/certs/java/cacerts", store)
	same(t, "without", paths(w.build(w.options()), javaKind), nil)
	w.link("/usr/lib/jvm/java-17/lib/security/cacerts", "/etc/ssl/certs/java/cacerts")
	w.link("/usr/lib/jvm/default-java", "java-17")
	w.file("/opt/jdk8/jre/lib/security/cacerts", store)
	w.file("/home/u/.sdkman/candidates/java/21/lib/security/cacerts", "junk")
	w.open("/home/u/jdk/lib/security")
	w.link("/home/u/jdk/lib/security/cacerts", "/etc/ssl/certs/java/cacerts")
	o := w.options()
	o.Env = []string{"JAVA_HOME=/home/u/jdk"}
	p := w.build(o)
	same(t, "with", paths(p, javaKind), []string{
		"/usr/lib/jvm/default-java/lib/security/cacerts", // java-17's, by the name that sorts first
		"/opt/jdk8/jre/lib/security/cacerts",
		"/home/u/.sdkman/candidates/java/21/lib/security/cacerts",
	})
	if !warned(p, "/home/u/jdk/lib/security/cacerts", "a link") || !warned(p, ".sdkman", "malformed") {
		t.Errorf("warnings %q", p.Warnings)
	}
}

func BenchmarkJavaStore(b *testing.B) {
	ca := newAuthority(b, pkix.Name{CommonName: "phantom-ns session CA"})
	var entries []entry
	for i := range 150 {
		entries = append(entries, entry{strings.Repeat("a", i+1), when, bytes.Repeat([]byte{1}, 1100)})
	}
	data := makeStore(b, entries...)
	p, err := newPlan(Options{CA: ca.pem(), UID: 1})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := p.javaStore("/cacerts", data); err != nil {
			b.Fatal(err)
		}
	}
}
