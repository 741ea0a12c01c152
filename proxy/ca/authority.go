// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"slices"
	"strings"
	"time"
)

const (
	// backdate is how long before its making a certificate is valid, so that
	// a clock that is a day off, the client's or ours once it is corrected,
	// still accepts it.
	backdate = 48 * time.Hour
	// authorityLife outlasts any session: a client reads its authorities
	// once, and the key is gone with the process whatever the date says.
	authorityLife = 10 * 365 * 24 * time.Hour
)

// Options are the choices for a new authority.
type Options struct {
	// Names are the only names it is good for: host names, or "*." and a host
	// name for everything below that. Nil means unconstrained; empty, none.
	// Certificates cannot express "this name but none below it", so a client
	// would also accept names below a listed one; Leaf does not make them. Java
	// (17) applies no constraints of an authority it is told to trust.
	Names []string
	// Key is the private key, a number of KeySize octets; nil: a fresh one.
	Key []byte
	// Certificate is one that was made for Key before, PEM: it is used again for
	// as long as it lasts and says the same of names. Else a new one is made.
	Certificate []byte
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Authority signs leaves for one session. It is safe for concurrent use.
type Authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	leafKey     *signer
	pem         []byte
	names       map[string]struct{} // as given; nil: unconstrained
	now         func() time.Time
	leaves      leaves
}

// KeySize is the length of a private key.
const KeySize = 32

// ErrKey is returned for a number that is no private key, such as 0.
var ErrKey = errors.New("not a private key")

// New makes an authority with an ECDSA P-256 key. A name that is not a plain
// host name is an error.
func New(options Options) (*Authority, error) {
	a := &Authority{now: options.Now}
	if a.now == nil {
		a.now = time.Now
	}
	names, err := nameSet(options.Names)
	if err != nil {
		return nil, fmt.Errorf("make authority: %w", err)
	}
	a.names = names
	if a.key, err = privateKey(options.Key); err != nil {
		return nil, fmt.Errorf("make authority: %w", err)
	}
	// One key for all leaves: a key of its own protects no leaf from the
	// process that holds them all, and making one costs as much as signing.
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make authority: %w", err)
	}
	a.leafKey = &signer{leafKey}
	if !a.reuse(options.Certificate) {
		name := commonName()
		if options.Key != nil {
			name = nameOf(a.key)
		}
		if err := a.signSelf(name); err != nil {
			return nil, fmt.Errorf("make authority: %w", err)
		}
	}
	a.leaves.init()
	return a, nil
}

func privateKey(number []byte) (*ecdsa.PrivateKey, error) {
	if number == nil {
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), number)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return key, nil
}

// reuse takes a certificate of before, if it is one that signSelf would make now
// and has years left: leaves are good for as long as it is.
func (a *Authority) reuse(text []byte) bool {
	block, _ := pem.Decode(text)
	if block == nil {
		return false
	}
	before, err := x509.ParseCertificate(block.Bytes)
	if err != nil || !a.key.PublicKey.Equal(before.PublicKey) || before.CheckSignatureFrom(before) != nil {
		return false
	}
	if now := a.now(); now.Before(before.NotBefore) || before.NotAfter.Sub(now) < authorityLife/5 {
		return false
	}
	same := &x509.Certificate{}
	constrain(same, a.names)
	if !slices.Equal(same.PermittedDNSDomains, before.PermittedDNSDomains) || same.PermittedDNSDomainsCritical != before.PermittedDNSDomainsCritical {
		return false
	}
	a.certificate, a.pem = before, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: before.Raw})
	return true
}

func (a *Authority) signSelf(name string) error {
	now := a.now()
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(authorityLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	constrain(template, a.names)
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		return err
	}
	if a.certificate, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return nil
}

// constrain writes the names into the certificate. Without a permitted name
// the extension would permit every name, so an empty list permits the one name
// that never exists (RFC 6761, section 6.4).
func constrain(template *x509.Certificate, names map[string]struct{}) {
	if names == nil {
		return
	}
	for name := range names {
		template.PermittedDNSDomains = append(template.PermittedDNSDomains, strings.TrimPrefix(name, "*."))
	}
	if len(names) == 0 {
		template.PermittedDNSDomains = []string{"invalid"}
	}
	slices.Sort(template.PermittedDNSDomains)
	template.PermittedDNSDomains = slices.Compact(template.PermittedDNSDomains)
	template.PermittedDNSDomainsCritical = true
	template.ExcludedIPRanges = []*net.IPNet{
		{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)},
		{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)},
	}
}

// PEM returns the authority's certificate.
func (a *Authority) PEM() []byte { return slices.Clone(a.pem) }

// Format prints the authority's name under every verb, so that no verb walks
// to the key.
func (a *Authority) Format(state fmt.State, _ rune) {
	if a == nil || a.certificate == nil {
		io.WriteString(state, "[authority]")
		return
	}
	io.WriteString(state, "["+a.certificate.Subject.CommonName+"]")
}

// commonName is unique, so that authorities of two sessions in one bundle are
// told apart by name, and is its own canonical form in the name hash of
// OpenSSL's directories: lower case, single spaces.
func commonName() string {
	var id [8]byte
	rand.Read(id[:]) // never returns an error since Go 1.24
	return "phantom-ns session " + hex.EncodeToString(id[:])
}

// nameOf is the same for the same key: who trusts one of its certificates
// verifies what was signed beside another.
func nameOf(key *ecdsa.PrivateKey) string {
	public, err := key.PublicKey.Bytes()
	if err != nil {
		return commonName() // no key of P-256 does
	}
	sum := sha256.Sum256(public)
	return "phantom-ns policy " + hex.EncodeToString(sum[:8])
}

// serial returns a positive random number of at most 127 bits (RFC 5280,
// section 4.1.2.2, allows 20 octets).
func serial() *big.Int {
	var raw [16]byte
	rand.Read(raw[:])
	raw[0] &= 0x7f
	raw[15] |= 1
	return new(big.Int).SetBytes(raw[:])
}
