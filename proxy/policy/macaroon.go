// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
)

// Macaroons are what PyPI's tokens are, behind their prefix: tools that upload
// take them apart to see whose they are. This is version 2 of libmacaroons'
// format: a version, then sections of fields, each a type, a length and octets,
// and a zero at the end of a section.
const (
	macaroonPrefix     = "pypi-"
	macaroonVersion    = 2
	macaroonEnd        = 0
	macaroonIdentifier = 2
	macaroonSignature  = 6
	signatureLength    = 32
)

// macaroon makes a placeholder that parses as one for a real value that does: its
// place and its caveats, another identifier in the form of the real one, and a
// random signature. Of a real value that is none, false.
func macaroon(real []byte, rand io.Reader) (text string, ok bool, err error) {
	coded, found := strings.CutPrefix(string(real), macaroonPrefix)
	if !found {
		return "", false, nil
	}
	plain, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(coded, "="))
	if err != nil || len(plain) == 0 || plain[0] != macaroonVersion {
		return "", false, nil
	}
	identifier, signature := fieldsOf(plain)
	if len(signature) != signatureLength {
		return "", false, nil
	}
	if _, err := io.ReadFull(rand, signature); err != nil {
		return "", false, fmt.Errorf("read random octets: %w", err)
	}
	if err := redraw(identifier, rand); err != nil {
		return "", false, err
	}
	return macaroonPrefix + base64.RawURLEncoding.EncodeToString(plain), true, nil
}

// fieldsOf returns the identifier, which is in the first section, and the
// signature, behind the last; none where the whole is malformed.
func fieldsOf(plain []byte) (identifier, signature []byte) {
	section := 0
	for rest := plain[1:]; len(rest) > 0; {
		kind := rest[0]
		if rest = rest[1:]; kind == macaroonEnd {
			section++
			continue
		}
		length, n := binary.Uvarint(rest)
		if n <= 0 || length > uint64(len(rest)-n) {
			return nil, nil
		}
		field := rest[n : n+int(length)]
		rest = rest[n+int(length):]
		switch {
		case kind == macaroonIdentifier && section == 0:
			identifier = field
		case kind == macaroonSignature && len(rest) == 0:
			signature = field
		}
	}
	return identifier, signature
}

// redraw replaces each letter and digit by another of its kind.
func redraw(text []byte, rand io.Reader) error {
	for i, c := range text {
		alphabet := ""
		switch {
		case c >= '0' && c <= '9':
			alphabet = alphabets["digits"]
		case c >= 'a' && c <= 'f':
			alphabet = "abcdef"
		case c >= 'g' && c <= 'z':
			alphabet = "ghijklmnopqrstuvwxyz"
		case c >= 'A' && c <= 'Z':
			alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
		default:
			continue
		}
		one, err := draw(rand, alphabet, 1)
		if err != nil {
			return err
		}
		text[i] = one[0]
	}
	return nil
}
