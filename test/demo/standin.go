// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"io"
	"log"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// standIn is an API that answers one random key and nothing else, on a
// loopback port of the machine.
type standIn struct {
	key      string
	ca       *rig.Authority
	listener net.Listener
	server   *http.Server
	accepted atomic.Int32 // requests with the real key
	refused  atomic.Int32
}

func startAPI() (*standIn, error) {
	var random [20]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, err
	}
	ca, err := rig.NewAuthority()
	if err != nil {
		return nil, err
	}
	leaf, err := ca.Leaf(host)
	if err != nil {
		return nil, err
	}
	a := &standIn{key: "demo-live-" + hex.EncodeToString(random[:]), ca: ca}
	if a.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	a.server = &http.Server{
		Handler:           a,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{*leaf}},
		ErrorLog:          log.New(io.Discard, "", 0),
		ReadHeaderTimeout: 10 * time.Second,
	}
	go a.server.ServeTLS(a.listener, "", "")
	return a, nil
}

func (a *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer "+a.key {
		a.refused.Add(1)
		http.Error(w, `{"error":"invalid key"}`, http.StatusUnauthorized)
		return
	}
	a.accepted.Add(1)
	io.WriteString(w, `{"account":"demo","authenticated":true}`+"\n")
}

// Close stops it.
func (a *standIn) Close() error { return a.server.Close() }
