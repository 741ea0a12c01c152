// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"io"
	"slices"
	"time"
)

// wellKnown are the beginnings of credentials that no provider has: the secrets
// of webhooks and OAuth clients, and tokens of Google's command line tools and
// Docker's registry.
var wellKnown = []string{"whsec_{base62:*}", "GOCSPX-{base64url:*}", "ya29.{base64url:*}", "dckr_pat_{base64url:*}"}

// kin are the providers whose shapes a credential without one gets, by what it
// begins with. A provider's file is read when it is needed.
var kin = map[string]string{
	"AIza": "gemini", "gh": "github", "gl": "gitlab", "hf_": "huggingface", "npm_": "npm", "rk_": "stripe", "sk_": "stripe",
	"sk-": "openai", "sk-ant-": "anthropic", "sk-ant-oat": "claude", "sk-or-": "openrouter", "xapp-": "slack", "xoxb-": "slack", "xoxe": "slack", "xoxp-": "slack",
}

// HolderFor is [Placeholder] for a value that is known: clients look what a
// credential begins with, or take it apart. In mode "shape" a JWT's is a JWT
// that says it ends at ends, or with the real one where that is zero; a
// macaroon's is a macaroon; and of the templates those come first that begin as
// the value does, the longest beginning before the others. Without a provider
// that of the provider that begins so do.
func HolderFor(cred Credential, real []byte, ends time.Time, tailSeed []byte, rand io.Reader) (string, error) {
	if cred.Placeholder.Mode != ShapeProvider {
		return Placeholder(cred, len(real), tailSeed, rand)
	}
	if text, ok, err := JWT(cred, real, ends, rand); ok || err != nil {
		return text, err
	}
	if text, ok, err := macaroon(real, rand); ok || err != nil {
		return text, err
	}
	cred.Placeholder.Templates = like(cred.Placeholder.Templates, real)
	return Placeholder(cred, len(real), tailSeed, rand)
}

// like puts the templates in front that begin as real does.
func like(templates []string, real []byte) []string {
	candidates := slices.Clone(templates)
	if len(templates) == 1 && templates[0] == plainTemplate {
		candidates = append(candidates, wellKnown...)
		for begins, name := range kin {
			if !bytes.HasPrefix(real, []byte(begins)) {
				continue
			}
			if p, ok := ProviderNamed(name); ok {
				candidates = append(candidates, p.Templates...)
			}
		}
	}
	alike := func(text string) int {
		begins, _, _ := bytes.Cut([]byte(text), []byte("{"))
		if !bytes.HasPrefix(real, begins) {
			return 0
		}
		return len(begins)
	}
	first := slices.DeleteFunc(slices.Clone(candidates), func(text string) bool { return alike(text) == 0 })
	slices.SortStableFunc(first, func(a, b string) int { return alike(b) - alike(a) })
	return append(first, templates...)
}
