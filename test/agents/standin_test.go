// SPDX-License-Identifier: Apache-2.0

//go:build agents

package agents

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// carrying answers 401 unless the request carries the trial's key in one of the
// positions.
func (tr *trial) carrying(h http.Handler, positions ...rig.Position) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, p := range positions {
			if p.Carries(r, tr.key) {
				h.ServeHTTP(w, r)
				return
			}
		}
		http.Error(w, `{"error":{"code":401,"message":"no valid credential"}}`, http.StatusUnauthorized)
	})
}

func answer(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(value)
}

// gemini plays generativelanguage.googleapis.com.
func (tr *trial) gemini() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1beta/models/{call}", func(w http.ResponseWriter, r *http.Request) {
		_, method, _ := strings.Cut(r.PathValue("call"), ":")
		whole := map[string]any{
			"candidates": []any{map[string]any{"index": 0, "finishReason": "STOP",
				"content": map[string]any{"role": "model", "parts": []any{map[string]any{"text": tr.upstream.Answer}}}}},
			"usageMetadata": map[string]any{"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2},
			"modelVersion":  "test", "responseId": "1",
		}
		switch method {
		case "generateContent":
			answer(w, whole)
		case "streamGenerateContent":
			data, err := json.Marshal(whole)
			if err != nil {
				panic(err)
			}
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprintf(w, "data: %s\r\n\r\n", data)
		case "countTokens":
			answer(w, map[string]any{"totalTokens": 1})
		default:
			http.NotFound(w, r)
		}
	})
	return tr.carrying(mux, "header: x-goog-api-key")
}

// What the stand-in gives the account: a host, and a model that the CLI knows.
const (
	copilotAPI   = "api.individual.githubcopilot.com"
	copilotModel = "gpt-5-mini"
)

// copilotUser plays the question of api.github.com which hosts serve the
// account.
func (tr *trial) copilotUser() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /copilot_internal/user", func(w http.ResponseWriter, r *http.Request) {
		answer(w, map[string]any{
			"login": "agent", "copilot_plan": "individual", "access_type_sku": "free_educational_quota", "chat_enabled": true, "can_signup_for_limited": false,
			"endpoints": map[string]any{"api": "https://" + copilotAPI, "proxy": "https://" + copilotAPI},
		})
	})
	mux.HandleFunc("GET /user", func(w http.ResponseWriter, r *http.Request) { answer(w, map[string]any{"login": "agent", "id": 1}) })
	return tr.carrying(mux, rig.Bearer, rig.Token)
}

// copilot plays the host of the account: one model and its chat.
func (tr *trial) copilot() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /models", func(w http.ResponseWriter, r *http.Request) {
		model := map[string]any{
			"id": copilotModel, "name": "test", "object": "model", "vendor": "test", "version": "test", "preview": false,
			"model_picker_enabled": true, "is_chat_default": true, "is_chat_fallback": true,
			"policy": map[string]any{"state": "enabled"}, "supported_endpoints": []string{"/chat/completions"},
			"capabilities": map[string]any{"type": "chat", "family": copilotModel, "object": "model_capabilities", "tokenizer": "o200k_base",
				"limits":   map[string]any{"max_context_window_tokens": 128000, "max_output_tokens": 16384, "max_prompt_tokens": 128000},
				"supports": map[string]any{"streaming": true, "tool_calls": true, "parallel_tool_calls": true}},
		}
		answer(w, map[string]any{"object": "list", "data": []any{model}})
	})
	mux.HandleFunc("POST /chat/completions", func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path = "/v1/chat/completions"
		tr.upstream.OpenAI(tr.key).ServeHTTP(w, r)
	})
	return tr.carrying(mux, rig.Bearer)
}
