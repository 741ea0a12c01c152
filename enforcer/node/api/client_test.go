// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// serve answers on a socket of its own, as handler does.
func serve(t *testing.T, handler http.HandlerFunc) *Client {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	c := Dial(socket)
	t.Cleanup(c.Close)
	return c
}

func TestEachCallHasItsPathAndMessage(t *testing.T) {
	var got string
	answer := "{}"
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = fmt.Sprint(r.Method, " ", r.URL.Path, " ", string(body))
		io.WriteString(w, answer)
	})
	ctx := t.Context()
	for _, call := range []struct {
		want, answer string
		do           func() error
	}{
		{`POST /v1/attach {"container":"c","interface":"eth0","namespace":"/n","policy":"p"}`, `{"session":"s1"}`, func() error {
			made, err := c.Attach(ctx, Attachment{Container: "c", Interface: "eth0", Namespace: "/n", Policy: "p"})
			if made.Session != "s1" {
				t.Errorf("session is %q", made.Session)
			}
			return err
		}},
		{`POST /v1/check {"container":"c","interface":"eth0","namespace":"/n","policy":"p"}`, `{}`, func() error {
			return c.Check(ctx, Attachment{Container: "c", Interface: "eth0", Namespace: "/n", Policy: "p"})
		}},
		{`POST /v1/detach {"container":"c","interface":"eth0"}`, `{}`, func() error { return c.Detach(ctx, "c", "eth0") }},
		{`POST /v1/collect {"network":"n","keep":[{"container":"c","interface":"eth0"}]}`, `{}`, func() error { return c.Collect(ctx, "n", []Key{{"c", "eth0"}}) }},
		{`POST /v1/collect {"network":"n","keep":[]}`, `{}`, func() error { return c.Collect(ctx, "n", nil) }},
		{`POST /v1/stop {"session":"s1"}`, `{}`, func() error { return c.Stop(ctx, "s1") }},
		{`POST /v1/stored {"name":"openai","removed":true}`, `{}`, func() error { return c.Stored(ctx, "openai", true) }},
		{`POST /v1/reload {}`, `[]`, func() error { _, err := c.Reload(ctx); return err }},
		{`GET /v1/status `, `{"pid":7}`, func() error { _, err := c.Status(ctx); return err }},
		{`GET /v1/attachments `, `[]`, func() error { _, err := c.List(ctx); return err }},
		{`GET /v1/policies `, `[]`, func() error { _, err := c.Policies(ctx); return err }},
	} {
		answer = call.answer
		if err := call.do(); err != nil {
			t.Errorf("%s: %v", call.want, err)
		}
		if got != call.want {
			t.Errorf("sent %s\nwant %s", got, call.want)
		}
	}
}

func TestARefusalComesBackWithItsCode(t *testing.T) {
	refusal := &Error{Code: CodeUnknownPolicy, Message: `no policy "p"`, Hint: "make one"}
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(refusal.Status())
		json.NewEncoder(w).Encode(refusal)
	})
	_, err := c.Status(t.Context())
	if got, ok := errors.AsType[*Error](err); !ok || *got != *refusal {
		t.Errorf("got %#v", err)
	}
	if Code(fmt.Errorf("add: %w", err)) != CodeUnknownPolicy {
		t.Errorf("code is %q", Code(err))
	}
}

func TestAnAnswerIsReadStrictly(t *testing.T) {
	for name, text := range map[string]string{
		"unknown key": `{"pid":1,"news":2}`, "html": "<html>", "nothing": "", "too long": `{"version":"` + strings.Repeat("a", MaxAnswer) + `"}`,
	} {
		for _, status := range []int{200, 500} {
			t.Run(fmt.Sprint(name, " ", status), func(t *testing.T) {
				c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
					w.WriteHeader(status)
					io.WriteString(w, text)
				})
				if s, err := c.Status(t.Context()); err == nil || Code(err) != "" {
					t.Errorf("got %+v, %v", s, err)
				}
			})
		}
	}
}

func TestADaemonThatIsAwayIsUnreachable(t *testing.T) {
	c := Dial(filepath.Join(t.TempDir(), "none"))
	if _, err := c.Status(t.Context()); !errors.Is(err, ErrUnreachable) || Code(err) != "" {
		t.Errorf("no socket: %v", err)
	}
	hangs := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := hangs.Status(ctx); !errors.Is(err, ErrUnreachable) || !errors.Is(err, context.Canceled) {
		t.Errorf("context ended: %v", err)
	}
}

func TestARequestIsBounded(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) { t.Error("it was sent"); io.WriteString(w, "{}") })
	if err := c.Detach(t.Context(), strings.Repeat("a", MaxRequest), "eth0"); !errors.Is(err, errTooLong) {
		t.Errorf("got %v", err)
	}
}

func TestEveryCodeHasAStatus(t *testing.T) {
	for code, status := range statuses {
		if e := (&Error{Code: code}); e.Status() != status || status < 400 {
			t.Errorf("%s: %d", code, e.Status())
		}
	}
	if e := (&Error{Code: "new"}); e.Status() != 500 {
		t.Errorf("unknown code: %d", e.Status())
	}
}
