// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// RFC 7292 and, for the outer wrapping, RFC 5652.
var (
	oidData         = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidEncrypted    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 6}
	oidCertBag      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 10, 1, 3}
	oidX509         = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 22, 1}
	oidFriendlyName = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 20}
)

var errPKCS12 = errors.New("malformed PKCS #12")

var explicit = der.Tag(0).Constructed().ContextSpecific()

// readPKCS12 returns the certificates of a store without password, the form of cacerts since
// JDK 18 (JDK-8275252). There is nothing to decrypt in it and no MAC worth checking.
func readPKCS12(data []byte) ([]entry, error) {
	file := cryptobyte.String(data)
	var pfx cryptobyte.String
	var version int64
	if !file.ReadASN1(&pfx, der.SEQUENCE) || !pfx.ReadASN1Integer(&version) || version != 3 {
		return nil, errPKCS12
	}
	safes, err := readContent(&pfx)
	if err != nil {
		return nil, err
	}
	var list cryptobyte.String
	if !safes.ReadASN1(&list, der.SEQUENCE) {
		return nil, errPKCS12
	}
	var entries []entry
	for !list.Empty() {
		content, err := readContent(&list)
		if err != nil {
			return nil, err
		}
		if entries, err = readBags(content, entries); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// readContent reads one ContentInfo of plain data.
func readContent(s *cryptobyte.String) (cryptobyte.String, error) {
	var info, wrapped, content cryptobyte.String
	var kind asn1.ObjectIdentifier
	if !s.ReadASN1(&info, der.SEQUENCE) || !info.ReadASN1ObjectIdentifier(&kind) {
		return nil, errPKCS12
	}
	if kind.Equal(oidEncrypted) {
		return nil, errEncrypted
	}
	if !kind.Equal(oidData) || !info.ReadASN1(&wrapped, explicit) || !wrapped.ReadASN1(&content, der.OCTET_STRING) {
		return nil, errPKCS12
	}
	return content, nil
}

func readBags(content cryptobyte.String, entries []entry) ([]entry, error) {
	var bags cryptobyte.String
	if !content.ReadASN1(&bags, der.SEQUENCE) {
		return nil, errPKCS12
	}
	for !bags.Empty() {
		var bag, value cryptobyte.String
		var kind asn1.ObjectIdentifier
		if !bags.ReadASN1(&bag, der.SEQUENCE) || !bag.ReadASN1ObjectIdentifier(&kind) || !bag.ReadASN1(&value, explicit) {
			return nil, errPKCS12
		}
		if !kind.Equal(oidCertBag) {
			continue
		}
		if len(entries) == maxEntries {
			return nil, errPKCS12
		}
		certificate, ok := readCertBag(value)
		if !ok {
			return nil, errPKCS12
		}
		alias := friendlyName(bag)
		if alias == "" {
			alias = fmt.Sprintf("unnamed-%03d", len(entries))
		}
		entries = append(entries, entry{alias: alias, added: time.Unix(0, 0), der: certificate})
	}
	return entries, nil
}

func readCertBag(value cryptobyte.String) ([]byte, bool) {
	var bag, wrapped, certificate cryptobyte.String
	var kind asn1.ObjectIdentifier
	ok := value.ReadASN1(&bag, der.SEQUENCE) &&
		bag.ReadASN1ObjectIdentifier(&kind) && kind.Equal(oidX509) &&
		bag.ReadASN1(&wrapped, explicit) &&
		wrapped.ReadASN1(&certificate, der.OCTET_STRING) && len(certificate) > 0
	return certificate, ok
}

// friendlyName returns the alias among a bag's attributes, empty when there is none.
func friendlyName(bag cryptobyte.String) string {
	var attributes cryptobyte.String
	if !bag.ReadASN1(&attributes, der.SET) {
		return ""
	}
	for !attributes.Empty() {
		var attribute, values, name cryptobyte.String
		var kind asn1.ObjectIdentifier
		if !attributes.ReadASN1(&attribute, der.SEQUENCE) || !attribute.ReadASN1ObjectIdentifier(&kind) {
			return ""
		}
		if kind.Equal(oidFriendlyName) && attribute.ReadASN1(&values, der.SET) && values.ReadASN1(&name, tagBMP) {
			text, _ := decodeText(name, tagBMP)
			return strings.ToValidUTF8(string(text), "_")
		}
	}
	return ""
}
