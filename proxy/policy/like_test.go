// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// likeTable is what each kind of credential begins with, and what its
// placeholder looks like. That is what clients look at before they call: gh and
// Copilot CLI at GitHub's beginnings, Slack's at xoxb- and xapp-, Stripe's at the
// mode, twine and its like at pypi-, and many at AIza, hf_, glpat- and sk-ant-.
var likeTable = []struct {
	provider, begins string
	length           int
	want             string
}{
	{"github", "ghp_", 40, `^ghp_[0-9A-Za-z]{36}$`},
	{"github", "gho_", 40, `^gho_[0-9A-Za-z]{36}$`},
	{"github", "ghu_", 40, `^ghu_[0-9A-Za-z]{36}$`},
	{"github", "ghs_", 40, `^ghs_[0-9A-Za-z]{36}$`},
	{"github", "github_pat_", 93, `^github_pat_[0-9A-Za-z]{22}_[0-9A-Za-z]{59}$`},
	{"github", "github_pat_", 82, `^github_pat_[0-9A-Za-z]{71}$`},
	{"copilot", "github_pat_", 93, `^github_pat_[0-9A-Za-z]{22}_[0-9A-Za-z]{59}$`},
	{"slack", "xoxb-", 57, `^xoxb-[0-9]{12}-[0-9]{13}-[0-9A-Za-z]{25}$`},
	{"slack", "xoxb-", 30, `^xoxb-[0-9A-Za-z]{25}$`},
	{"slack", "xoxp-", 78, `^xoxp-[0-9]{12}-[0-9]{13}-[0-9]{13}-[0-9a-f]{32}$`},
	{"slack", "xapp-1-A", 97, `^xapp-1-A[0-9]{10}-[0-9]{13}-[0-9a-f]{64}$`},
	{"slack", "xoxe.xoxb-1-", 160, `^xoxe\.xoxb-1-[0-9A-Za-z]{148}$`},
	{"slack", "xoxe.xoxp-1-", 160, `^xoxe\.xoxp-1-[0-9A-Za-z]{148}$`},
	{"stripe", "sk_test_", 107, `^sk_test_[0-9A-Za-z]{99}$`},
	{"stripe", "sk_live_", 107, `^sk_live_[0-9A-Za-z]{99}$`},
	{"stripe", "rk_live_", 107, `^rk_live_[0-9A-Za-z]{99}$`},
	{"stripe", "rk_test_", 107, `^rk_test_[0-9A-Za-z]{99}$`},
	{"", "whsec_", 38, `^whsec_[0-9A-Za-z]{32}$`},
	{"gemini", "AIzaSy", 39, `^AIzaSy[-_0-9A-Za-z]{33}$`},
	{"gemini", "AQ.", 53, `^AQ\.[-_0-9A-Za-z]{50}$`},
	{"", "ya29.", 220, `^ya29\.[-_0-9A-Za-z]{215}$`},
	{"", "GOCSPX-", 35, `^GOCSPX-[-_0-9A-Za-z]{28}$`},
	{"gitlab", "glpat-", 51, `^glpat-[-_0-9A-Za-z]{45}$`},
	{"gitlab", "gldt-", 51, `^gldt-[-_0-9A-Za-z]{46}$`},
	{"gitlab", "glpat-", 26, `^gl[0-9A-Za-z]{24}$`}, // no room for 128 bits behind glpat-
	{"huggingface", "hf_", 37, `^hf_[A-Za-z]{34}$`},
	{"npm", "npm_", 40, `^npm_[0-9A-Za-z]{36}$`},
	{"anthropic", "sk-ant-api03-", 108, `^sk-ant-api03-[-_0-9A-Za-z]{93}AA$`},
	{"anthropic", "sk-ant-admin01-", 108, `^sk-ant-admin01-[-_0-9A-Za-z]{91}AA$`},
	{"claude", "sk-ant-oat01-", 108, `^sk-ant-oat01-[-_0-9A-Za-z]{93}AA$`},
	{"openai", "sk-proj-", 164, `^sk-proj-[-_0-9A-Za-z]{156}$`},
	{"openai", "sk-svcacct-", 164, `^sk-svcacct-[-_0-9A-Za-z]{153}$`},
	{"openai", "sk-", 51, `^sk-[0-9A-Za-z]{48}$`},
	{"", "dckr_pat_", 36, `^dckr_pat_[-_0-9A-Za-z]{27}$`},
	// Without a provider, in its kin's.
	{"", "sk-ant-api03-", 108, `^sk-ant-api03-[-_0-9A-Za-z]{93}AA$`},
	{"", "glpat-", 51, `^glpat-`},
	{"", "ghp_", 40, `^ghp_[0-9A-Za-z]{36}$`},
	{"", "sk_live_", 107, `^sk_live_[0-9A-Za-z]{99}$`},
	{"", "xapp-1-A", 97, `^xapp-1-A`},
	{"", "", 40, `^[0-9A-Za-z]{40}$`},
	// A beginning that nobody knows: the provider's first.
	{"github", "", 40, `^ghp_`},
	{"slack", "zzzz-", 57, `^xoxb-`},
}

func TestPlaceholderBeginsAsTheRealOne(t *testing.T) {
	for _, c := range likeTable {
		t.Run(c.provider+" "+c.begins, func(t *testing.T) {
			cred := shaped(plainTemplate)
			if p, ok := ProviderNamed(c.provider); ok {
				cred = shaped(p.Templates...)
			}
			rest, err := draw(rand.Reader, alphabets["base62"], c.length-len(c.begins))
			if err != nil {
				t.Fatal(err)
			}
			got, err := HolderFor(cred, []byte(c.begins+rest), time.Time{}, []byte("seed"), rand.Reader)
			if err != nil || len(got) != c.length || !regexp.MustCompile(c.want).MatchString(got) {
				t.Errorf("%d characters: %q, %v, want %s", c.length, got, err, c.want)
			}
			if begins, _, _ := strings.Cut(got, "_"); len(got) == 40 && (begins == "npm" || len(begins) == 3 && begins[:2] == "gh") && got[34:] != checksum(got[4:34]) {
				t.Errorf("%q has another checksum", got)
			}
		})
	}
}

func TestKinAreProviders(t *testing.T) {
	for begins, name := range kin {
		p, ok := ProviderNamed(name)
		alike := func(text string) bool { return strings.HasPrefix(text, begins) }
		if !ok || !slices.ContainsFunc(p.Templates, alike) {
			t.Errorf("%q: provider %q has no such template", begins, name)
		}
	}
}

// What a policy asks for is what it gets.
func TestPlaceholderOfAPolicyIsNotLikeTheRealOne(t *testing.T) {
	for mode, shape := range map[string]Shape{
		"^X$":           {Mode: ShapeName},
		"^[0-9a-f]{32}": {Mode: ShapeTemplate, Templates: []string{"{hex:32}"}},
	} {
		cred := Credential{Name: "x", Env: []string{"X"}, Placeholder: shape}
		got, err := HolderFor(cred, []byte("ghp_"+strings.Repeat("a", 36)), time.Time{}, nil, rand.Reader)
		if err != nil || !regexp.MustCompile(mode).MatchString(got) {
			t.Errorf("%q, %v", got, err)
		}
	}
}

// A JWT that is stored gets one that parses, with the times of the real one or
// those that it is told, and nothing else of it.
func TestPlaceholderOfAStoredJWT(t *testing.T) {
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	real := part(`{"alg":"HS256","typ":"JWT","kid":"private"}`) + "." + part(`{"iss":"supabase","role":"service_role","iat":1700000000,"exp":2015359999}`) + "." + strings.Repeat("s", 43)
	for end, at := range map[float64]time.Time{2015359999: {}, 4102444800: time.Unix(4102444800, 0)} {
		p, _ := ProviderNamed("supabase")
		got, err := HolderFor(shaped(p.Templates...), []byte(real), at, nil, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		var head, claims map[string]any
		parts := strings.Split(got, ".")
		if len(parts) != 3 || !decodeAny(parts[0], &head) || !decodeAny(parts[1], &claims) || parts[2] == strings.Repeat("s", 43) {
			t.Fatalf("%q", got)
		}
		if len(head) != 2 || head["alg"] != "HS256" || head["typ"] != "JWT" || len(claims) != 2 || claims["iat"] != 1700000000.0 || claims["exp"] != end {
			t.Errorf("%v %v", head, claims)
		}
	}
}

func decodeAny(text string, into any) bool {
	plain, err := base64.RawURLEncoding.DecodeString(text)
	return err == nil && json.Unmarshal(plain, into) == nil
}

// realMacaroon is what a token of PyPI is: its place, an identifier that is a
// UUID, a caveat and a signature.
func realMacaroon() []byte {
	field := func(kind byte, text string) []byte { return append([]byte{kind, byte(len(text))}, text...) }
	return bytes.Join([][]byte{
		{2}, field(1, "pypi.org"), field(2, "5f0ad4b1-7a3c-4d8e-9b2f-0c1d2e3f4a5b"), {0},
		field(2, `[1,["example"]]`), {0}, {0}, field(6, strings.Repeat("k", 32)),
	}, nil)
}

func TestPlaceholderOfAMacaroon(t *testing.T) {
	plain := realMacaroon()
	real := "pypi-" + base64.RawURLEncoding.EncodeToString(plain)
	if !strings.HasPrefix(real, "pypi-AgEIcHlwaS5vcmc") {
		t.Fatalf("not as PyPI's begin: %q", real)
	}
	p, _ := ProviderNamed("pypi")
	got, err := HolderFor(shaped(p.Templates...), []byte(real), time.Time{}, nil, rand.Reader)
	if err != nil || len(got) != len(real) || !strings.HasPrefix(got, "pypi-AgEIcHlwaS5vcmc") {
		t.Fatalf("%q, %v", got, err)
	}
	made, err := base64.RawURLEncoding.DecodeString(got[len("pypi-"):])
	if err != nil {
		t.Fatal(err)
	}
	wasID, wasSignature := fieldsOf(plain)
	id, signature := fieldsOf(made)
	if bytes.Equal(id, wasID) || bytes.Equal(signature, wasSignature) || len(signature) != 32 ||
		!regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`).Match(id) {
		t.Errorf("identifier %q, signature %x", id, signature)
	}
	copy(id, wasID)
	copy(signature, wasSignature)
	if !bytes.Equal(made, plain) {
		t.Errorf("the rest differs: %q, want %q", made, plain)
	}
	for name, other := range map[string][]byte{
		"cut":          plain[:len(plain)-1],
		"no signature": plain[:len(plain)-34],
		"version 1":    append([]byte{1}, plain[1:]...),
		"long field":   append([]byte{2, 1, 0xff}, plain...),
		"empty":        nil,
	} {
		coded := "pypi-" + base64.RawURLEncoding.EncodeToString(other)
		if got, ok, err := macaroon([]byte(coded), rand.Reader); ok || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func FuzzMacaroon(f *testing.F) {
	f.Add(realMacaroon())
	f.Add([]byte{2, 0})
	f.Fuzz(func(t *testing.T, plain []byte) {
		real := "pypi-" + base64.RawURLEncoding.EncodeToString(plain)
		got, ok, err := macaroon([]byte(real), rand.Reader)
		if err != nil || ok && (len(got) != len(real) || got == real) {
			t.Fatalf("%q, %v", got, err)
		}
	})
}
