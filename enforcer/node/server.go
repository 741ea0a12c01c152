// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
)

// Bounds of the server. Its only callers are root's programs and members of a
// group, so these keep a mistake small.
const (
	readTimeout    = 10 * time.Second
	writeTimeout   = api.ReloadTimeout + 10*time.Second
	idleTimeout    = 10 * time.Second
	maxHeaderBytes = 8 << 10
)

func (d *Daemon) newServer() *http.Server {
	mux := http.NewServeMux()
	prefix := " /" + api.Version + "/"
	mux.Handle(http.MethodPost+prefix+"attach", answer(d, "attach", func(_ context.Context, a api.Attachment) (api.Attachment, error) { return d.attach(a) }))
	mux.Handle(http.MethodPost+prefix+"check", answer(d, "check", nothing(d.check)))
	mux.Handle(http.MethodPost+prefix+"detach", answer(d, "detach", nothing(d.detach)))
	mux.Handle(http.MethodPost+prefix+"collect", answer(d, "collect", nothing(d.collect)))
	mux.Handle(http.MethodPost+prefix+"stop", answer(d, "stop", nothing(func(_ context.Context, t api.Target) error { return d.stop(t.Session) })))
	mux.Handle(http.MethodPost+prefix+"stored", answer(d, "stored", nothing(d.stored)))
	mux.Handle(http.MethodPost+prefix+"reload", answer(d, "reload", func(ctx context.Context, _ struct{}) ([]api.PolicyInfo, error) {
		err := d.Reload(ctx)
		return d.policyInfos(), err
	}))
	mux.Handle(http.MethodGet+prefix+"attachments", tell(d, d.list))
	mux.Handle(http.MethodGet+prefix+"policies", tell(d, d.policyInfos))
	mux.Handle(http.MethodGet+prefix+"status", tell(d, d.status))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		write(w, nil, refuse(api.CodeInvalid, "%s %.80q is not in version %s of this interface", r.Method, r.URL.Path, api.Version))
	})
	return &http.Server{
		Handler: mux, ConnContext: withPeer, MaxHeaderBytes: maxHeaderBytes,
		ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
	}
}

// answer serves a request of type Q with an answer of type A, to root.
func answer[Q, A any](d *Daemon, name string, do func(context.Context, Q) (A, error)) http.Handler {
	return d.forRoot(func(w http.ResponseWriter, r *http.Request) {
		var asked Q
		if err := api.Decode(r.Body, api.RequestLimit(name), &asked); err != nil {
			write(w, nil, refuse(api.CodeInvalid, "%w", err))
			return
		}
		// Who asked may go: what was begun is brought to its end, or undone.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), writeTimeout)
		defer cancel()
		said, err := do(ctx, asked)
		if err != nil {
			d.log.Warn("refused", "request", name, "error", err)
		}
		write(w, said, err)
	})
}

// nothing is for requests whose answer says only that it was done.
func nothing[Q any](do func(context.Context, Q) error) func(context.Context, Q) (struct{}, error) {
	return func(ctx context.Context, asked Q) (struct{}, error) { return struct{}{}, do(ctx, asked) }
}

func tell[A any](d *Daemon, ask func() A) http.Handler {
	return d.forRoot(func(w http.ResponseWriter, _ *http.Request) { write(w, ask(), nil) })
}

// forRoot lets root's requests through. Members of the group have their own
// socket; here they learn that there is a daemon.
func (d *Daemon) forRoot(serve http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isRoot(r.Context()) {
			write(w, nil, &api.Error{Code: api.CodeDenied, Message: "only root may ask", Hint: "run it with sudo"})
			return
		}
		serve(w, r)
	})
}

func write(w http.ResponseWriter, said any, err error) {
	status := http.StatusOK
	if err != nil {
		told := refusal(err)
		said, status = told, told.Status()
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// Who asked may have gone.
	_ = json.NewEncoder(w).Encode(said)
}
