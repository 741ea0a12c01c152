// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestProviders(t *testing.T) {
	bearer := Position{Kind: PositionBearer}
	header := func(name string) Position { return Position{PositionHeader, name} }
	want := map[string]struct {
		hosts     string
		env       string
		positions []Position
		anonymous Anonymous
	}{
		"anthropic":   {"api.anthropic.com", "ANTHROPIC_API_KEY", []Position{header("x-api-key"), bearer}, "deny"},
		"cohere":      {"api.cohere.com api.cohere.ai", "CO_API_KEY COHERE_API_KEY", []Position{bearer}, "deny"},
		"copilot":     {"api.github.com api.githubcopilot.com api.individual.githubcopilot.com api.business.githubcopilot.com api.enterprise.githubcopilot.com", "COPILOT_GITHUB_TOKEN", []Position{bearer, {Kind: PositionToken}}, "deny"},
		"deepseek":    {"api.deepseek.com", "DEEPSEEK_API_KEY", []Position{bearer, header("x-api-key")}, "deny"},
		"gemini":      {"generativelanguage.googleapis.com", "GEMINI_API_KEY GOOGLE_API_KEY", []Position{header("x-goog-api-key"), bearer}, "deny"},
		"github":      {"api.github.com github.com gist.github.com uploads.github.com", "GH_TOKEN GITHUB_TOKEN", []Position{bearer, {Kind: PositionToken}, {PositionBasic, BasicPassword}, {PositionBasic, BasicUsername}}, "read"},
		"gitlab":      {"gitlab.com", "GITLAB_TOKEN", []Position{header("private-token"), bearer, {PositionBasic, BasicPassword}}, "read"},
		"groq":        {"api.groq.com", "GROQ_API_KEY", []Position{bearer}, "deny"},
		"huggingface": {"huggingface.co router.huggingface.co api-inference.huggingface.co", "HF_TOKEN HUGGING_FACE_HUB_TOKEN", []Position{bearer, {PositionBasic, BasicPassword}}, "read"},
		"mistral":     {"api.mistral.ai", "MISTRAL_API_KEY", []Position{bearer}, "deny"},
		"openai":      {"api.openai.com", "OPENAI_API_KEY", []Position{bearer}, "deny"},
		"openrouter":  {"openrouter.ai", "OPENROUTER_API_KEY", []Position{bearer}, "deny"},
		"slack":       {"slack.com files.slack.com", "SLACK_BOT_TOKEN", []Position{bearer}, "deny"},
		"stripe":      {"api.stripe.com files.stripe.com", "STRIPE_API_KEY STRIPE_SECRET_KEY", []Position{bearer, {PositionBasic, BasicUsername}}, "deny"},
		"xai":         {"api.x.ai", "XAI_API_KEY", []Position{bearer}, "deny"},
	}
	if len(Providers()) != len(want) {
		t.Errorf("%d providers: %s", len(Providers()), providerNames())
	}
	for name, w := range want {
		t.Run(name, func(t *testing.T) {
			p, ok := ProviderNamed(name)
			if !ok {
				t.Fatal("missing")
			}
			if got := strings.Join(p.Hosts, " "); got != w.hosts {
				t.Errorf("hosts %s", got)
			}
			if got := strings.Join(p.Env, " "); got != w.env {
				t.Errorf("env %s", got)
			}
			if diff := cmp.Diff(w.positions, p.Positions); diff != "" {
				t.Error(diff)
			}
			if p.Anonymous != w.anonymous {
				t.Errorf("anonymous %s", p.Anonymous)
			}
			if slices.ContainsFunc(p.Hosts, func(h string) bool { return strings.Contains(h, "*") }) {
				t.Error("a provider's hosts are exact")
			}
		})
	}
}

func TestProviderFileIsStrict(t *testing.T) {
	const good = "name: x\nhosts: [a.test]\nenv: [X]\ninject: [bearer]\nplaceholder: [\"{base62:*}\"]\n"
	if _, err := parseProvider("providers/x.yaml", []byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ text, message string }{
		"unknown key":          {good + "x: 1\n", "unknown key"},
		"duplicate key":        {good + "env: [Y]\n", "the same key twice"},
		"other name":           {strings.Replace(good, "name: x", "name: y", 1), "want the file's own"},
		"empty hosts":          {strings.Replace(good, "[a.test]", "[]", 1), "an empty list"},
		"no env":               {strings.Replace(good, "env: [X]\n", "", 1), "env: missing"},
		"bad host":             {strings.Replace(good, "a.test", "127.0.0.1", 1), "bad host name"},
		"unsupported position": {strings.Replace(good, "bearer", "sigv4", 1), "not supported by this build"},
		"weak template":        {strings.Replace(good, "base62:*", "hex:8", 1), "128 random bits"},
		"allow":                {good + "allow: []\n", "unknown key"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parseProvider("providers/x.yaml", []byte(c.text)); err == nil || !strings.Contains(err.Error(), c.message) {
				t.Fatalf("%v; want %q", err, c.message)
			}
		})
	}
}
