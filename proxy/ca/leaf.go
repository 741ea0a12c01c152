// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"time"
)

const (
	leafLife = 14 * 24 * time.Hour
	// leafSpare is how much of its life a leaf handed out still has at least.
	leafSpare = 7 * 24 * time.Hour
	// maxCommonName is ub-common-name of RFC 5280, appendix A.1.
	maxCommonName = 64
)

// signer is the leaves' key without a way to get at it.
type signer struct{ key *ecdsa.PrivateKey }

func (s *signer) Public() crypto.PublicKey { return s.key.Public() }

func (s *signer) Sign(random io.Reader, digest []byte, options crypto.SignerOpts) ([]byte, error) {
	return s.key.Sign(random, digest, options)
}

// Leaf returns a certificate for host, made at most once at a time and kept
// until it is old or among the least recently used. The host must be in
// canonical form and within the authority's names. The result is shared: it
// must not be changed.
func (a *Authority) Leaf(host string) (*tls.Certificate, error) {
	return a.leaves.get(host, a.now(), a.mint)
}

// mint makes the certificate. The checks are here and not in Leaf because a
// name that is in the cache has passed them.
func (a *Authority) mint(host string) (*tls.Certificate, error) {
	if err := checkName(host); err != nil {
		return nil, fmt.Errorf("make leaf: %w", err)
	}
	if !a.permits(host) {
		return nil, fmt.Errorf("make leaf: host %q is not one of the session's names", host)
	}
	der, err := x509.CreateCertificate(rand.Reader, a.leafTemplate(host), a.certificate, a.leafKey.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("make leaf: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make leaf: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.leafKey, Leaf: leaf}, nil
}

// leafTemplate leaves the subject empty when the host is too long for one; the
// name that counts is the alternative name, then critical (RFC 5280, section
// 4.1.2.6).
func (a *Authority) leafTemplate(host string) *x509.Certificate {
	now := a.now()
	template := &x509.Certificate{
		SerialNumber:          serial(),
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(leafLife),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              []string{host},
	}
	if len(host) <= maxCommonName {
		template.Subject = pkix.Name{CommonName: host}
	}
	return template
}

// fresh reports whether a leaf can be handed out: not near its end, and not
// made in what is now the future because the clock was set back.
func fresh(leaf *x509.Certificate, now time.Time) bool {
	return !now.Before(leaf.NotBefore.Add(backdate/2)) && now.Before(leaf.NotAfter.Add(-leafSpare))
}
