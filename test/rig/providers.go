// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

// Position is where a request carries a credential, as a policy writes it.
type Position string

// The positions that an upstream can ask for; "header: NAME" is one more.
const (
	Bearer        Position = "bearer"
	Token         Position = "token"
	BasicPassword Position = "basic: password"
	BasicUsername Position = "basic: username"
)

// Carries tells whether r carries key in position p, exactly once and nothing
// else in the header that p is about.
func (p Position) Carries(r *http.Request, key string) bool {
	if name, ok := strings.CutPrefix(string(p), "header: "); ok {
		return slices.Equal(r.Header.Values(name), []string{key})
	}
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return false
	}
	user, password, basic := r.BasicAuth()
	switch p {
	case Bearer:
		return values[0] == "Bearer "+key
	case Token:
		return values[0] == "token "+key
	case BasicPassword:
		return basic && password == key
	case BasicUsername:
		return basic && user == key
	}
	panic("rig: unknown position " + string(p))
}

// guarded answers 401 with the given body unless the request carries key in
// one of the positions.
func guarded(h http.Handler, key, challenge, body string, positions ...Position) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if slices.ContainsFunc(positions, func(p Position) bool { return p.Carries(r, key) }) {
			h.ServeHTTP(w, r)
			return
		}
		if challenge != "" {
			w.Header().Set("WWW-Authenticate", challenge)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, body)
	})
}

// Echo answers every request that carries key with what it was: a JSON object
// with method, target, host, proto, length (of the body) and answer.
// Credentials are not echoed. Without positions it asks for no key.
func (u *Upstream) Echo(key string, positions ...Position) http.Handler {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		reply(w, map[string]any{"answer": u.Answer, "method": r.Method, "target": r.RequestURI, "host": r.Host, "proto": r.Proto, "length": n})
	})
	if len(positions) == 0 {
		return h
	}
	return guarded(h, key, "", `{"error":"unauthorized"}`, positions...)
}

// OpenAI plays api.openai.com: chat completions, responses, models, each as
// one answer and as a stream; responses over a WebSocket, too.
func (u *Upstream) OpenAI(key string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, r *http.Request) {
		reply(w, map[string]any{"object": "list", "data": []any{map[string]any{"id": u.Answer, "object": "model", "created": 1, "owned_by": "test"}}})
	})
	mux.HandleFunc("POST /v1/chat/completions", func(w http.ResponseWriter, r *http.Request) {
		if !streams(r) {
			reply(w, map[string]any{"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "test", "choices": []any{
				map[string]any{"index": 0, "finish_reason": "stop", "message": map[string]any{"role": "assistant", "content": u.Answer}}}})
			return
		}
		chunk := func(delta map[string]any, finish any) event {
			return event{"", map[string]any{"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "test",
				"choices": []any{map[string]any{"index": 0, "delta": delta, "finish_reason": finish}}}}
		}
		var events []event
		for _, part := range split(u.Answer) {
			events = append(events, chunk(map[string]any{"content": part}, nil))
		}
		events = append(events, chunk(map[string]any{}, "stop"))
		stream(w, events, "data: [DONE]\n\n")
	})
	mux.HandleFunc("POST /v1/responses", func(w http.ResponseWriter, r *http.Request) {
		events := u.response()
		if !streams(r) {
			reply(w, events[len(events)-1].data["response"])
			return
		}
		stream(w, events, "")
	})
	mux.HandleFunc("GET /v1/responses", u.responseSocket)
	return guarded(mux, key, "", `{"error":{"message":"Incorrect API key provided.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}`, Bearer)
}

// Anthropic plays api.anthropic.com: messages, as one answer and as a stream.
// The key comes as x-api-key (Claude Code, the Python SDK) or as a bearer (the
// Node SDK), one of them.
func (u *Upstream) Anthropic(key string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/messages", func(w http.ResponseWriter, r *http.Request) {
		message := map[string]any{"id": "msg_1", "type": "message", "role": "assistant", "model": "test", "stop_reason": "end_turn", "stop_sequence": nil,
			"usage": map[string]any{"input_tokens": 1, "output_tokens": 1}, "content": []any{map[string]any{"type": "text", "text": u.Answer}}}
		if !streams(r) {
			reply(w, message)
			return
		}
		message["content"], message["stop_reason"] = []any{}, nil
		events := []event{
			{"message_start", map[string]any{"type": "message_start", "message": message}},
			{"content_block_start", map[string]any{"type": "content_block_start", "index": 0, "content_block": map[string]any{"type": "text", "text": ""}}},
		}
		for _, part := range split(u.Answer) {
			events = append(events, event{"content_block_delta", map[string]any{"type": "content_block_delta", "index": 0, "delta": map[string]any{"type": "text_delta", "text": part}}})
		}
		stream(w, append(events,
			event{"content_block_stop", map[string]any{"type": "content_block_stop", "index": 0}},
			event{"message_delta", map[string]any{"type": "message_delta", "delta": map[string]any{"stop_reason": "end_turn", "stop_sequence": nil}, "usage": map[string]any{"output_tokens": 1}}},
			event{"message_stop", map[string]any{"type": "message_stop"}}), "")
	})
	return guarded(mux, key, "", `{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}`, "header: x-api-key", Bearer)
}

// GitHub plays api.github.com: the user and one repository, private.
func (u *Upstream) GitHub(key string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /user", func(w http.ResponseWriter, r *http.Request) {
		reply(w, map[string]any{"login": u.Answer, "id": 1})
	})
	mux.HandleFunc("GET /repos/acme/private", func(w http.ResponseWriter, r *http.Request) {
		reply(w, map[string]any{"full_name": "acme/private", "private": true, "description": u.Answer})
	})
	return guarded(mux, key, "", `{"message":"Bad credentials","status":"401"}`, Bearer, Token)
}

func reply(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(value)
}

// streams tells whether a provider's JSON request asks for a stream.
func streams(r *http.Request) bool {
	var ask struct {
		Stream bool `json:"stream"`
	}
	return json.NewDecoder(r.Body).Decode(&ask) == nil && ask.Stream
}

// split cuts an answer so that no event of a stream holds all of it.
func split(text string) []string {
	return []string{text[:len(text)/3], text[len(text)/3 : 2*len(text)/3], text[2*len(text)/3:]}
}

// event is one server-sent event.
type event struct {
	name string
	data map[string]any
}

// stream sends events, each flushed by itself, then a last line as it is.
func stream(w http.ResponseWriter, events []event, last string) {
	w.Header().Set("Content-Type", "text/event-stream")
	flush := http.NewResponseController(w)
	for _, e := range events {
		data, err := json.Marshal(e.data)
		if err != nil {
			panic(err)
		}
		if e.name != "" {
			fmt.Fprintf(w, "event: %s\n", e.name)
		}
		fmt.Fprintf(w, "data: %s\n\n", data)
		flush.Flush()
	}
	io.WriteString(w, last)
}
