// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/phantom-ns/phantom-ns/enforcer/node/cdi"
)

// Limits of a request. The API server holds an object to 1.5 MiB in etcd and
// sends up to two; it waits at most 30 seconds, ten unless told otherwise.
const (
	maxBody     = 8 << 20
	maxBodies   = 64 << 20 // of all requests, as far as they have come
	readTime    = 5 * time.Second
	answerTime  = 10 * time.Second
	idleTime    = 2 * time.Minute
	maxHeader   = 64 << 10
	maxAtATime  = 8 // decisions
	endingTime  = 10 * time.Second
	reviewPath  = "/mutate"
	healthPath  = "/healthz"
	readyPath   = "/readyz"
	contentType = "application/json"
)

// Server answers reviews.
type Server struct {
	source Source
	layout cdi.Layout
	log    *slog.Logger
	ready  func() bool
	held   atomic.Int64 // bytes of bodies
	turns  chan struct{}
}

// New makes a server. ready says whether the API server can know its
// certificate; layout is where nodes keep what containers mount.
func New(source Source, layout cdi.Layout, ready func() bool, log *slog.Logger) *Server {
	return &Server{source: source, layout: layout, log: log, ready: ready, turns: make(chan struct{}, maxAtATime)}
}

// Serve answers on l until ctx ends, and then what it began. certificate is
// asked for each connection.
func (s *Server) Serve(ctx context.Context, l net.Listener, certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)) error {
	server := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: readTime, ReadTimeout: readTime, WriteTimeout: answerTime, IdleTimeout: idleTime,
		MaxHeaderBytes: maxHeader,
		ErrorLog:       slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // handshakes of passers-by
		TLSConfig:      &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certificate},
	}
	ended := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endingTime)
		defer cancel()
		ended <- server.Shutdown(ctx)
	})
	err := server.ServeTLS(l, "", "")
	if !stop() {
		err = <-ended
	}
	if err != nil {
		return fmt.Errorf("serve reviews: %w", err)
	}
	return nil
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+reviewPath, s.review)
	mux.HandleFunc("GET "+healthPath, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET "+readyPath, func(w http.ResponseWriter, _ *http.Request) {
		if !s.ready() {
			http.Error(w, "the API server does not know the certificate yet", http.StatusServiceUnavailable)
			return
		}
		io.WriteString(w, "ok\n")
	})
	return mux
}

// body counts what has come of a request as held until it is answered: who
// sends slowly holds no more than that, and nobody up.
type body struct {
	from io.Reader
	all  *atomic.Int64
	own  int64
}

var errBodies = errors.New("there are too many reviews at a time")

func (b *body) Read(p []byte) (int, error) {
	n, err := b.from.Read(p)
	b.own += int64(n)
	if b.all.Add(int64(n)) > maxBodies {
		return n, errBodies
	}
	return n, err
}

func (b *body) release() { b.all.Add(-b.own) }

// review answers one. An error of HTTP is a refusal too: the webhook is
// configured to fail closed.
func (s *Server) review(w http.ResponseWriter, r *http.Request) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != contentType {
		http.Error(w, "a review is "+contentType, http.StatusUnsupportedMediaType)
		return
	}
	body := &body{from: http.MaxBytesReader(w, r.Body, maxBody), all: &s.held}
	defer body.release()
	data, err := io.ReadAll(body)
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		http.Error(w, "the review is too large", http.StatusRequestEntityTooLarge)
		return
	}
	if errors.Is(err, errBodies) {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	if err != nil {
		return // whoever asked is gone
	}
	s.turns <- struct{}{} // nobody has one who waits for anything
	defer func() { <-s.turns }()
	asked, err := parseReview(data)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer, err := s.answer(asked)
	if err != nil {
		s.log.Error("answer review", "error", err)
		http.Error(w, "the webhook could not answer", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.Write(answer)
}

func (s *Server) answer(r *request) ([]byte, error) {
	answer := &response{UID: r.UID, Allowed: true}
	v, err := decide(r, s.layout, s.source.environ)
	switch {
	case err != nil:
		s.log.Info("pod refused", "namespace", r.Namespace, "error", err)
		answer.Allowed = false
		answer.Status = &status{Message: "phantom-ns: " + err.Error(), Reason: "Forbidden", Code: http.StatusForbidden}
	case len(v.patch) > 0:
		if answer.Patch, err = json.Marshal(v.patch); err != nil {
			return nil, err
		}
		answer.PatchType = "JSONPatch"
	}
	return answer.encode()
}
