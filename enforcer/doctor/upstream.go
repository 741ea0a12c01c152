// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/ca"
)

// The upstream's names, of a domain that nobody can register (RFC 6761).
const (
	swapHost = "swap.doctor.phantom-ns.example" // wants the credential
	openHost = "tls.doctor.phantom-ns.example"  // wants none
)

// answer begins what the upstream says: who prints it has talked to it.
const answer = "the doctor's own upstream"

// gitAdvert is an empty repository (gitprotocol-http(5)).
const gitAdvert = "001e# service=git-upload-pack\n00000000"

// upstream is a TLS server on the host's loopback, with roots and a credential
// of its own that live as long as it does.
type upstream struct {
	listener net.Listener
	server   *http.Server
	ca       *ca.Authority
	canary   string // the real credential

	mu   sync.Mutex
	seen map[string]string // by runtime: the Authorization field of its last request
}

func newUpstream() (*upstream, error) {
	authority, err := ca.New(ca.Options{Names: []string{swapHost, openHost}})
	if err != nil {
		return nil, fmt.Errorf("make upstream: %w", err)
	}
	var random [24]byte
	rand.Read(random[:]) // never returns an error since Go 1.24
	u := &upstream{ca: authority, canary: "doctor-" + hex.EncodeToString(random[:]), seen: make(map[string]string)}
	if u.listener, err = net.Listen("tcp4", "127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("make upstream: %w", err)
	}
	u.server = &http.Server{
		Handler: u, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute,
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
			GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) { return authority.Leaf(hello.ServerName) },
		},
	}
	go u.server.ServeTLS(u.listener, "", "")
	return u, nil
}

func (u *upstream) close() { u.server.Close() }

// arrived tells whether a runtime's request did, and with what credential.
func (u *upstream) arrived(name string) (authorization string, ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	authorization, ok = u.seen[name]
	return authorization, ok
}

// ServeHTTP answers a runtime, by the first element of the path, as the kind of
// server it asks for.
func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	authorization := r.Header.Get("Authorization")
	u.mu.Lock()
	u.seen[name] = authorization
	u.mu.Unlock()
	switch {
	case strings.HasSuffix(rest, "/info/refs"):
		w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
		io.WriteString(w, gitAdvert)
	case strings.HasPrefix(rest, "simple/"):
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "<!DOCTYPE html><html><body></body></html>")
	case strings.HasSuffix(rest, "/@v/list"):
		io.WriteString(w, "v1.0.0\n")
	case strings.HasSuffix(rest, "/@v/v1.0.0.info"): // go asks for it from 1.16 on, to look for retractions
		io.WriteString(w, `{"Version": "v1.0.0"}`)
	case strings.HasSuffix(rest, "/@v/v1.0.0.mod"):
		io.WriteString(w, "module "+strings.TrimSuffix(rest, "/@v/v1.0.0.mod")+"\n")
	case rest == "config.json":
		fmt.Fprintf(w, `{"dl": "https://%s/%s", "api": "https://%s/%s"}`, openHost, name, openHost, name)
	case strings.HasSuffix(rest, "api/v1/crates"):
		io.WriteString(w, `{"crates": [], "meta": {"total": 0}}`)
	case rest == "-/ping":
		io.WriteString(w, "{}")
	default:
		// The credential comes back, so that what the agent sees of it shows.
		fmt.Fprintf(w, "%s\n%s\n", answer, authorization)
	}
}
