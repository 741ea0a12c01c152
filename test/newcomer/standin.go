// SPDX-License-Identifier: Apache-2.0

//go:build ignore

// Command standin plays api.anthropic.com: it answers whoever sends the key that
// it is given, and writes a policy that leads the name to itself.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

const host = "api.anthropic.com"

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func run(key, dir string) error {
	certificate, err := certify(filepath.Join(dir, "standin.pem"))
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	policy := fmt.Sprintf("version: 1\nhosts:\n  %s: {connect: %q, ca: %s}\n", host, listener.Addr(), filepath.Join(dir, "standin.pem"))
	if err := os.WriteFile(filepath.Join(dir, "policy.yaml"), []byte(policy), 0o644); err != nil {
		return err
	}
	fmt.Println("listening")
	server := &http.Server{TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}}}
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("x-api-key") != key {
			http.Error(w, "invalid x-api-key", http.StatusUnauthorized)
			return
		}
		io.WriteString(w, "the answer\n")
	})
	return server.ServeTLS(listener, "", "")
}

func certify(name string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{host}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	data := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, os.WriteFile(name, data, 0o644)
}
