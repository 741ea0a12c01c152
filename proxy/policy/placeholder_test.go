// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
)

func shaped(templates ...string) Credential {
	return Credential{Name: "x", Source: "store:x", Placeholder: Shape{Mode: ShapeProvider, Templates: templates}}
}

// The token is the example of an invalidated one in public articles on the
// format; its last six digits are GitHub's own work.
func TestChecksumIsGitHubs(t *testing.T) {
	if got := checksum("zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ"); got != "0mLq17" {
		t.Fatalf("checksum %q", got)
	}
}

func TestPlaceholderHasTheProvidersShapeAndTheLength(t *testing.T) {
	for _, c := range []struct {
		provider string
		length   int
		want     string
	}{
		{"openai", 164, `^sk-proj-[A-Za-z0-9_-]{156}$`},
		{"openai", 51, `^sk-proj-[A-Za-z0-9_-]{43}$`},
		{"anthropic", 108, `^sk-ant-api03-[A-Za-z0-9_-]{93}AA$`},
		{"gemini", 39, `^AIzaSy[A-Za-z0-9_-]{33}$`},
		{"github", 40, `^ghp_[A-Za-z0-9]{36}$`},
		{"github", 93, `^github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}$`},
		{"github", 60, `^ghp_[A-Za-z0-9]{56}$`},
		{"gitlab", 26, `^gl[A-Za-z0-9]{24}$`},
		{"gitlab", 51, `^glpat-[A-Za-z0-9_-]{45}$`},
		{"huggingface", 37, `^hf_[A-Za-z]{34}$`},
		{"groq", 56, `^gsk_[A-Za-z0-9]{52}$`},
		{"mistral", 32, `^[A-Za-z0-9]{32}$`},
		{"openrouter", 73, `^sk-or-v1-[0-9a-f]{64}$`},
		{"xai", 84, `^xai-[A-Za-z0-9]{80}$`},
		{"deepseek", 35, `^sk-[0-9a-f]{32}$`},
		{"cohere", 40, `^[A-Za-z0-9]{40}$`},
		{"slack", 56, `^xoxb-[0-9]{12}-[0-9]{13}-[A-Za-z0-9]{24}$`},
		{"stripe", 107, `^sk_test_[A-Za-z0-9]{99}$`},
		{"stripe", 32, `^sk_test_[A-Za-z0-9]{24}$`},
	} {
		t.Run(c.provider, func(t *testing.T) {
			p, ok := ProviderNamed(c.provider)
			if !ok {
				t.Fatal("no such provider")
			}
			cred := shaped(p.Templates...)
			one, err := Placeholder(cred, c.length, []byte("seed"), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			if len(one) != c.length || !regexp.MustCompile(c.want).MatchString(one) {
				t.Errorf("%d characters: %q, want %s", c.length, one, c.want)
			}
			if two, _ := Placeholder(cred, c.length, []byte("seed"), rand.Reader); two == one {
				t.Error("the same twice")
			}
		})
	}
}

func TestGitHubPlaceholderEndsInItsChecksum(t *testing.T) {
	got, err := Placeholder(shaped("ghp_{base62:30}{crc32}"), 40, nil, rand.Reader)
	if err != nil || got[34:] != checksum(got[4:34]) {
		t.Fatalf("%q, %v", got, err)
	}
}

func TestAnthropicTailIsStablePerUserAndCredential(t *testing.T) {
	p, _ := ProviderNamed("anthropic")
	tail := func(name, source, seed string) (whole, last string) {
		cred := Credential{Name: name, Source: source, Placeholder: Shape{Mode: ShapeProvider, Templates: p.Templates}}
		whole, err := Placeholder(cred, 108, []byte(seed), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return whole, whole[len(whole)-20:]
	}
	whole, last := tail("anthropic", "store:anthropic", "user 1")
	again, same := tail("anthropic", "store:anthropic", "user 1")
	if last != same {
		t.Errorf("tails %q and %q", last, same)
	}
	if whole == again {
		t.Error("the whole placeholder is the same twice")
	}
	for name, other := range map[string][3]string{
		"user":   {"anthropic", "store:anthropic", "user 2"},
		"name":   {"second", "store:anthropic", "user 1"},
		"source": {"anthropic", "store:second", "user 1"},
	} {
		if _, got := tail(other[0], other[1], other[2]); got == last {
			t.Errorf("another %s has the same tail", name)
		}
	}
	if _, err := Placeholder(shaped(p.Templates...), 108, nil, rand.Reader); err == nil {
		t.Error("no seed, no error")
	}
}

func TestPlaceholderNeedsRoomFor128Bits(t *testing.T) {
	for name, c := range map[string]struct {
		templates []string
		length    int
		least     string
	}{
		"base62":    {[]string{"sk-{base62:*}"}, 24, "at least 25"},
		"hex":       {[]string{"sk-{hex:*}"}, 34, "at least 35"},
		"two":       {[]string{"glpat-{base64url:*}", "gl{base62:*}"}, 23, "at least 24"},
		"crc":       {[]string{"ghp_{base62:*}{crc32}"}, 31, "at least 32"},
		"tail":      {[]string{"sk-ant-api03-{base64url:*}{tail:18}AA"}, 54, "at least 55"},
		"no length": {[]string{"{base62:*}"}, 0, "at least 22"},
		"negative":  {[]string{"{base62:*}"}, -1, "at least 22"},
		"too long":  {[]string{"{base62:*}"}, maxLength + 1, "longer than"},
		"fixed":     {[]string{"a{hex:32}"}, 34, "at least 33"},
		"none":      {nil, 40, "no template"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Placeholder(shaped(c.templates...), c.length, []byte("s"), rand.Reader)
			if err == nil || !strings.Contains(err.Error(), c.least) || !strings.Contains(err.Error(), `credential "x"`) {
				t.Fatalf("%q, %v; want %q", got, err, c.least)
			}
		})
	}
}

func TestShortestHoldsTheEntropy(t *testing.T) {
	for _, p := range Providers() {
		for _, text := range p.Templates {
			tpl, err := parseTemplate(text)
			if err != nil {
				t.Fatal(err)
			}
			open, ok := tpl.open()
			bits := tpl.bits()
			if ok {
				bits += float64(tpl.shortest()-tpl.fixed()) * open.density()
			}
			if bits < minEntropy {
				t.Errorf("%s: %q: %v bits at %d", p.Name, text, bits, tpl.shortest())
			}
		}
	}
}

func TestPlaceholderModes(t *testing.T) {
	name := Credential{Name: "openai", Env: []string{"OPENAI_API_KEY"}, Placeholder: Shape{Mode: ShapeName}}
	if got, err := Placeholder(name, 10, nil, rand.Reader); got != "OPENAI_API_KEY" || err != nil {
		t.Errorf("name: %q, %v", got, err)
	}
	name.Env = nil
	if got, err := Placeholder(name, 10, nil, rand.Reader); got != "openai" || err != nil {
		t.Errorf("name without variable: %q, %v", got, err)
	}
	own := Credential{Name: "x", Placeholder: Shape{Mode: ShapeTemplate, Templates: []string{"text{hex:32}"}}}
	if got, err := Placeholder(own, 10, nil, rand.Reader); len(got) != 36 || err != nil {
		t.Errorf("template: %q, %v", got, err)
	}
	own.Placeholder.Templates = []string{"text{hex:*}"}
	if got, err := Placeholder(own, 50, nil, rand.Reader); len(got) != 50 || err != nil {
		t.Errorf("open template: %q, %v", got, err)
	}
}

func TestPlaceholderWithoutRandomnessFails(t *testing.T) {
	broken := errors.New("broken")
	if _, err := Placeholder(shaped(plainTemplate), 40, nil, iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	if _, err := Placeholder(shaped(plainTemplate), 40, nil, bytes.NewReader(make([]byte, 10))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v", err)
	}
}

// Octets that would make some characters more likely than others are dropped.
func TestDrawIsUniform(t *testing.T) {
	var all []byte
	for i := range 256 {
		all = append(all, byte(i))
	}
	for name, alphabet := range alphabets {
		n := 256 - 256%len(alphabet)
		got, err := draw(bytes.NewReader(all), alphabet, n)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range alphabet {
			if count := strings.Count(got, string(c)); count != n/len(alphabet) {
				t.Errorf("%s: %q %d times", name, c, count)
			}
		}
	}
}

func TestTemplateRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"open group":      "a{hex:32",
		"unknown":         "{hax:32}",
		"no length":       "{hex}",
		"zero":            "{hex:0}",
		"negative":        "{hex:-1}",
		"leading zero":    "{hex:032}",
		"huge":            "{hex:99999}",
		"two open":        "{hex:*}{hex:*}",
		"open tail":       "{tail:*}{hex:32}",
		"tail is no key":  "{tail:64}",
		"crc first":       "{crc32}{hex:32}",
		"crc of text":     "{hex:32}x{crc32}",
		"crc of crc":      "{hex:32}{crc32}{crc32}",
		"crc with length": "{hex:32}{crc32:6}",
		"too few bits":    "{hex:31}",
		"blank":           "a b{hex:32}",
		"quote":           "a\"{hex:32}",
		"line feed":       "a\n{hex:32}",
		"closing alone":   "a}{hex:32}",
		"not ASCII":       "é{hex:32}",
		"empty":           "",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parseTemplate(text); err == nil {
				t.Fatalf("%q passed", text)
			}
		})
	}
}

func FuzzTemplate(f *testing.F) {
	f.Add("sk-{base62:*}", 40)
	f.Add("ghp_{base62:30}{crc32}", 40)
	f.Add("{hex:*}{tail:18}AA", 60)
	f.Fuzz(func(t *testing.T, text string, length int) {
		tpl, err := parseTemplate(text)
		if err != nil || !tpl.fits(length) {
			return
		}
		got, err := Placeholder(shaped(text), length, []byte("s"), rand.Reader)
		if err != nil || len(got) != length {
			t.Fatalf("%q at %d: %q, %v", text, length, got, err)
		}
	})
}
