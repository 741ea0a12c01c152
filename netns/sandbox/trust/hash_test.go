// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"encoding/asn1"
	"fmt"
	"testing"
	"unicode/utf16"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

var (
	oidCN = asn1.ObjectIdentifier{2, 5, 4, 3}
	oidC  = asn1.ObjectIdentifier{2, 5, 4, 6}
	oidO  = asn1.ObjectIdentifier{2, 5, 4, 10}
	oidOU = asn1.ObjectIdentifier{2, 5, 4, 11}
	oidDC = asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}
)

type attribute struct {
	oid   asn1.ObjectIdentifier
	tag   der.Tag
	value string
}

func encodeName(sets ...[]attribute) []byte {
	var b cryptobyte.Builder
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, set := range sets {
			b.AddASN1(der.SET, func(b *cryptobyte.Builder) {
				for _, a := range set {
					b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddASN1ObjectIdentifier(a.oid)
						b.AddASN1(a.tag, func(b *cryptobyte.Builder) { b.AddBytes([]byte(a.value)) })
					})
				}
			})
		}
	})
	return b.BytesOrPanic()
}

func one(oid asn1.ObjectIdentifier, tag der.Tag, value string) []attribute {
	return []attribute{{oid, tag, value}}
}

func utf16BE(s string) string {
	var out []byte
	for _, u := range utf16.Encode([]rune(s)) {
		out = append(out, byte(u>>8), byte(u))
	}
	return string(out)
}

func utf32BE(s string) string {
	var out []byte
	for _, r := range s {
		out = append(out, byte(r>>24), byte(r>>16), byte(r>>8), byte(r))
	}
	return string(out)
}

// The expected values are what OpenSSL 3.0 printed for `x509 -subject_hash`.
func TestSubjectHash(t *testing.T) {
	const utf8, printable = der.UTF8String, der.PrintableString
	for _, c := range []struct {
		name, want string
		der        []byte
	}{
		{"plain", "5bbb235a", encodeName(one(oidCN, utf8, "phantom-ns session CA"))},
		{"other string type", "5bbb235a", encodeName(one(oidCN, printable, "phantom-ns session CA"))},
		{"space and case", "12fd5c9c", encodeName(one(oidC, printable, "DE"), one(oidO, utf8, "  Two  Spaces   Ltd "), one(oidCN, utf8, "UPPER Case"))},
		{"tabs are space", "12fd5c9c", encodeName(one(oidC, printable, "DE"), one(oidO, utf8, "two\t\nspaces ltd"), one(oidCN, utf8, "upper case\r"))},
		{"not ASCII", "881092cd", encodeName(one(oidC, printable, "FR"), one(oidO, utf8, "Éclair Société"), one(oidCN, utf8, "Ünï"))},
		{"BMP and Latin-1", "881092cd", encodeName(one(oidC, printable, "FR"), one(oidO, tagBMP, utf16BE("Éclair Société")), one(oidCN, der.T61String, "\xdcn\xef"))},
		{"universal", "881092cd", encodeName(one(oidC, printable, "FR"), one(oidO, tagUniversal, utf32BE("Éclair Société")), one(oidCN, utf8, "Ünï"))},
		{"two in one set", "8714f49b", encodeName(one(oidCN, utf8, "b"), []attribute{{oidOU, utf8, "X"}, {oidOU, utf8, "y"}})},
		{"set sorted again", "8714f49b", encodeName(one(oidCN, utf8, "b"), []attribute{{oidOU, utf8, "y"}, {oidOU, utf8, "X"}})},
		{"domain components", "76149a6f", encodeName(one(oidDC, der.IA5String, "org"), one(oidDC, der.IA5String, "Example"), one(oidCN, utf8, "ia5"))},
	} {
		t.Run(c.name, func(t *testing.T) {
			hash, err := subjectHash(c.der)
			if got := fmt.Sprintf("%08x", hash); err != nil || got != c.want {
				t.Fatalf("hash %s, error %v, want %s", got, err, c.want)
			}
		})
	}
}

func TestSubjectHashRefusesJunk(t *testing.T) {
	for _, junk := range [][]byte{nil, {0x30}, {0x30, 2, 1, 1}, {0x30, 2, 0x31, 5}, append(encodeName(), 0)} {
		if _, err := subjectHash(junk); err == nil {
			t.Errorf("%x accepted", junk)
		}
	}
}

func FuzzSubjectHash(f *testing.F) {
	f.Add(encodeName(one(oidCN, der.UTF8String, " A  b "), one(oidO, tagBMP, "x")))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = subjectHash(data) })
}
