// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // OpenSSL's choice of hash for file names, nothing rests on it
	"encoding/binary"
	"errors"
	"slices"
	"unicode/utf16"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// The string types that OpenSSL folds (ASN1_MASK_CANON); others count as they are.
const (
	tagVisible   asn1.Tag = 26
	tagUniversal asn1.Tag = 28
	tagBMP       asn1.Tag = 30
)

var errName = errors.New("read certificate subject: malformed name")

// subjectHash is OpenSSL's X509_NAME_hash: the first four bytes, little endian, of SHA-1 over
// the name's canonical form: no outer header, strings as UTF-8 in lower ASCII case with runs of
// white space made one space and none at the ends. It is the file name in a hashed directory.
func subjectHash(subject []byte) (uint32, error) {
	name := cryptobyte.String(subject)
	var sets cryptobyte.String
	if !name.ReadASN1(&sets, asn1.SEQUENCE) || !name.Empty() {
		return 0, errName
	}
	var canonical cryptobyte.Builder
	for !sets.Empty() {
		var set cryptobyte.String
		if !sets.ReadASN1(&set, asn1.SET) {
			return 0, errName
		}
		attributes, err := canonicalSet(set)
		if err != nil {
			return 0, err
		}
		canonical.AddASN1(asn1.SET, func(b *cryptobyte.Builder) { b.AddBytes(bytes.Join(attributes, nil)) })
	}
	der, err := canonical.Bytes()
	if err != nil {
		return 0, errName
	}
	sum := sha1.Sum(der) //nolint:gosec // see the import
	return binary.LittleEndian.Uint32(sum[:4]), nil
}

// canonicalSet returns the attributes of one relative name in DER's order for a SET OF, which
// folding may have changed.
func canonicalSet(set cryptobyte.String) ([][]byte, error) {
	var list [][]byte
	for !set.Empty() {
		var attribute, oid, value cryptobyte.String
		var tag asn1.Tag
		if !set.ReadASN1(&attribute, asn1.SEQUENCE) ||
			!attribute.ReadASN1(&oid, asn1.OBJECT_IDENTIFIER) ||
			!attribute.ReadAnyASN1(&value, &tag) {
			return nil, errName
		}
		if text, ok := decodeText(value, tag); ok {
			value, tag = fold(text), asn1.UTF8String
		}
		var b cryptobyte.Builder
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes(oid) })
			b.AddASN1(tag, func(b *cryptobyte.Builder) { b.AddBytes(value) })
		})
		der, err := b.Bytes()
		if err != nil {
			return nil, errName
		}
		list = append(list, der)
	}
	slices.SortFunc(list, bytes.Compare)
	return list, nil
}

// decodeText returns a folded string type as UTF-8. T61 is read as Latin-1, as OpenSSL does.
func decodeText(value []byte, tag asn1.Tag) ([]byte, bool) {
	switch tag {
	case asn1.UTF8String, asn1.PrintableString, asn1.IA5String, tagVisible:
		return value, true
	case asn1.T61String:
		runes := make([]rune, len(value))
		for i, c := range value {
			runes[i] = rune(c)
		}
		return []byte(string(runes)), true
	case tagBMP:
		units := make([]uint16, 0, len(value)/2)
		for ; len(value) >= 2; value = value[2:] {
			units = append(units, binary.BigEndian.Uint16(value))
		}
		return []byte(string(utf16.Decode(units))), true
	case tagUniversal:
		var runes []rune
		for ; len(value) >= 4; value = value[4:] {
			runes = append(runes, rune(binary.BigEndian.Uint32(value)))
		}
		return []byte(string(runes)), true
	}
	return nil, false
}

// fold applies the white space and case rules, to ASCII only.
func fold(text []byte) []byte {
	text = bytes.TrimFunc(text, space)
	folded := make([]byte, 0, len(text))
	for i, c := range text {
		switch {
		case space(rune(c)) && space(rune(text[i-1])):
		case space(rune(c)):
			folded = append(folded, ' ')
		case 'A' <= c && c <= 'Z':
			folded = append(folded, c+'a'-'A')
		default:
			folded = append(folded, c)
		}
	}
	return folded
}

func space(r rune) bool { return r == ' ' || '\t' <= r && r <= '\r' }
