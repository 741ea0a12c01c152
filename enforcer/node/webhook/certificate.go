// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"path/filepath"
	"time"
)

// How long a certificate of one's own lives, and how long before its end there
// is another. A process that hangs for days loses no more than its readiness.
const (
	lifetime = 7 * 24 * time.Hour
	overlap  = 2 * 24 * time.Hour
	skew     = time.Hour // between the clocks of nodes
)

// own is a certificate that signs itself, and the key that is in this process
// alone. It is an authority for its one name, with no one below it.
type own struct {
	pair tls.Certificate
	pem  []byte
	ends time.Time
}

func makeOwn(name string, now time.Time) (*own, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: commonName},
		DNSNames: []string{name}, NotBefore: now.Add(-skew), NotAfter: now.Add(lifetime),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
		PermittedDNSDomainsCritical: true, PermittedDNSDomains: []string{name},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	return &own{
		pair: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		pem:  pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), ends: template.NotAfter,
	}, nil
}

// commonName tells certificates of ours in a bundle from those of others.
const commonName = "phantom-ns webhook"

// maxBundle bounds how many of ours a bundle keeps: replicas, and those of
// processes that ended lately.
const maxBundle = 32

// joined is a bundle with one's own certificate in it, and without those of
// ours that have ended; changed says whether that is something new. When there
// are too many the oldest go: who misses his own puts it back.
func joined(bundle, mine []byte, now time.Time) (all []byte, changed bool) {
	var others, ours [][]byte
	present := false
	for rest := bundle; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		encoded := pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})
		c, err := x509.ParseCertificate(block.Bytes)
		switch {
		case string(encoded) == string(mine):
			present = true
			ours = append(ours, encoded)
		case err != nil || c.Subject.CommonName != commonName:
			others = append(others, encoded)
		case now.Before(c.NotAfter):
			ours = append(ours, encoded)
		default:
			changed = true
		}
	}
	if !present {
		ours, changed = append(ours, mine), true
	}
	for _, c := range append(others, ours[max(0, len(ours)-maxBundle):]...) {
		all = append(all, c...)
	}
	return all, changed
}

// Files reads a certificate that somebody else makes and renews, as
// cert-manager does: tls.crt and tls.key of a mounted Secret, for each
// connection.
func Files(dir string) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
		if err != nil {
			return nil, fmt.Errorf("read certificate: %w", err)
		}
		return &pair, nil
	}
}
