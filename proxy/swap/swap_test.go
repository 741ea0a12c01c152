// SPDX-License-Identifier: Apache-2.0

package swap

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

const (
	holder = "sk-phantom-0123456789abcdef"
	real   = "sk-canary-FEDCBA9876543210zz"
)

func newSet(t testing.TB, positions ...policy.Position) (*Set, []*policy.Credential) {
	t.Helper()
	value, err := secret.New([]byte(real))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(value.Wipe)
	p := &policy.Credential{Name: "one", Positions: positions}
	return New([]Credential{{Policy: p, Placeholder: holder, Value: secret.NewCell(value)}}), []*policy.Credential{p}
}

// What the session's other credentials cost a request is a search, no memory.
func TestOtherCredentialsDoNotAllocate(t *testing.T) {
	one, bound := newSet(t, bearer)
	var others []Credential
	for i := range 10 {
		p := &policy.Credential{Name: fmt.Sprint("other", i), Positions: []policy.Position{bearer}}
		others = append(others, Credential{Policy: p, Placeholder: fmt.Sprint(holder, "-", i)})
	}
	r := Request{Target: "/", Header: header("Accept", "text/plain", "User-Agent", "x")}
	allocations := func(s *Set) float64 {
		return testing.AllocsPerRun(100, func() {
			if f, err := s.Judge(bound, &r); !f.Bare || err != nil {
				t.Fatal(f, err)
			}
		})
	}
	if alone, among := allocations(one), allocations(one.With(others, func(*Credential) bool { return false })); among != alone {
		t.Errorf("%v allocations, %v with ten others", alone, among)
	}
}

func basic(text string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(text)) }

func header(pairs ...string) http.Header {
	h := make(http.Header)
	for i := 0; i+1 < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

var (
	bearer   = policy.Position{Kind: policy.PositionBearer}
	token    = policy.Position{Kind: policy.PositionToken}
	password = policy.Position{Kind: policy.PositionBasic, Name: policy.BasicPassword}
	username = policy.Position{Kind: policy.PositionBasic, Name: policy.BasicUsername}
	custom   = policy.Position{Kind: policy.PositionHeader, Name: "x-company-key"}
	raw      = policy.Position{Kind: policy.PositionHeader, Name: "authorization"}
)

// verdict is a Finding in one word.
func verdict(f Finding, err error) string {
	switch {
	case errors.Is(err, ErrDuplicate):
		return "duplicate"
	case errors.Is(err, ErrVariant):
		return "variant"
	case f.Unbound:
		return "unbound"
	case f.Misplaced:
		return "misplaced"
	case len(f.Matched) > 0 && f.Foreign:
		return "matched and foreign"
	case f.Foreign:
		return "foreign"
	case len(f.Matched) > 0:
		return "matched " + f.Positions()
	case f.Bare:
		return "bare"
	}
	return "nothing"
}

func TestJudgeAndApply(t *testing.T) {
	for _, c := range []struct {
		name     string
		position policy.Position
		header   http.Header
		want     string
		out      http.Header // after Apply, when it matched
	}{
		{"bearer", bearer, header("Authorization", "Bearer "+holder), "matched bearer", header("Authorization", "Bearer "+real)},
		{"bearer, other case", bearer, header("Authorization", "BEARER "+holder), "matched bearer", header("Authorization", "Bearer "+real)},
		{"bearer as token", bearer, header("Authorization", "token "+holder), "misplaced", nil},
		{"bare value", bearer, header("Authorization", holder), "misplaced", nil},
		{"raw header", raw, header("Authorization", holder), "matched header: authorization", header("Authorization", real)},
		{"token", token, header("Authorization", "token "+holder), "matched token", header("Authorization", "token "+real)},
		{"password", password, header("Authorization", basic("git:"+holder)), "matched basic: password", header("Authorization", basic("git:"+real))},
		{"password, empty user", password, header("Authorization", basic(":"+holder)), "matched basic: password", header("Authorization", basic(":"+real))},
		{"username", username, header("Authorization", basic(holder+":")), "matched basic: username", header("Authorization", basic(real+":"))},
		{"username, x-oauth-basic", username, header("Authorization", basic(holder+":x-oauth-basic")), "matched basic: username", header("Authorization", basic(real+":x-oauth-basic"))},
		{"username as password", password, header("Authorization", basic(holder+":x")), "misplaced", nil},
		{"both halves", password, header("Authorization", basic(holder+":"+holder)), "duplicate", nil},
		{"inside the user", password, header("Authorization", basic("a"+holder+":"+holder)), "misplaced", nil},
		{"password with a colon", password, header("Authorization", basic("a:b:"+holder)), "misplaced", nil},
		{"basic without padding", password, header("Authorization", strings.TrimRight(basic("git:"+holder), "=")), "foreign", nil},
		{"basic with trailing bits", password, header("Authorization", "Basic YTpi"+"Yh=="), "foreign", nil},
		{"custom", custom, header("X-Company-Key", holder), "matched header: x-company-key", header("X-Company-Key", real)},
		{"custom, underscored", custom, header("X_company_key", "anything"), "variant", nil},
		{"custom, underscored at the end", custom, header("X-Company-Key_", "anything"), "variant", nil},
		{"custom, dotted", custom, header("X.Company-Key", "anything"), "variant", nil},
		{"standard, disguised", custom, header("Proxy_authorization", "anything"), "variant", nil},
		{"unrelated underscore", custom, header("X_stainless_lang", "js"), "bare", header("X_stainless_lang", "js")},
		{"two values", bearer, header("Authorization", "Bearer "+holder, "Authorization", "Bearer "+holder), "duplicate", nil},
		{"foreign beside", bearer, header("Authorization", "Bearer "+holder, "X-Api-Key", "k"), "matched and foreign", nil},
		{"foreign empty", bearer, header("Authorization", ""), "foreign", nil},
		{"suffix", bearer, header("Authorization", "Bearer "+holder+" "), "misplaced", nil},
		{"stray beside", bearer, header("Authorization", "Bearer "+holder, "X-Trace", holder), "misplaced", nil},
		{"percent-encoded stray", bearer, header("X-Trace", "%73"+holder[1:]), "misplaced", nil},
		{"none", bearer, header("Accept", "*/*"), "bare", header("Accept", "*/*")},
	} {
		t.Run(c.name, func(t *testing.T) {
			set, bound := newSet(t, c.position)
			f, err := set.Judge(bound, &Request{Header: c.header, Target: "/"})
			if got := verdict(f, err); got != c.want {
				t.Fatalf("%s, not %s", got, c.want)
			}
			if text := fmt.Sprintf("%v %+v %#v", f, f, f); strings.Contains(text, real) {
				t.Errorf("the finding shows the real value: %s", text)
			}
			if c.out == nil {
				return
			}
			if err := f.Apply(&Request{Header: c.header, Target: "/"}); err != nil || !reflect.DeepEqual(c.header, c.out) {
				t.Errorf("%v, %v, not %v", c.header, err, c.out)
			}
		})
	}
}

// TestUnbound: the same head at a host without the credential.
func TestUnbound(t *testing.T) {
	set, _ := newSet(t, bearer)
	for _, h := range []http.Header{header("Authorization", "Bearer "+holder), header("X-Any", "a "+holder), header("Authorization", basic("x:"+holder))} {
		if got := verdict(set.Judge(nil, &Request{Header: h, Target: "/"})); got != "unbound" {
			t.Errorf("%v: %s", h, got)
		}
	}
	if got := verdict(set.Judge(nil, &Request{Header: header(), Target: "/?q=" + holder})); got != "unbound" {
		t.Errorf("target: %s", got)
	}
	if got := verdict(set.Judge(nil, &Request{Header: header(), Target: "/?key=other&X-Amz-Signature=1"})); got != "bare" {
		t.Errorf("a query name at a host without a credential: %s", got)
	}
}

// TestNamePlaceholder: a placeholder that is a mere name counts in its position
// alone.
func TestNamePlaceholder(t *testing.T) {
	set, bound := newSet(t, bearer)
	set.credentials[0].Policy.Placeholder.Mode = "name"
	for _, c := range []struct {
		bound []*policy.Credential
		h     http.Header
		want  string
	}{
		{bound, header("Authorization", "Bearer "+holder), "matched bearer"},
		{bound, header("X-Any", "set "+holder), "bare"},
		{nil, header("X-Any", "set "+holder), "bare"},
		{nil, header("Authorization", "Bearer "+holder), "foreign"},
	} {
		if got := verdict(set.Judge(c.bound, &Request{Header: c.h, Target: "/?q=" + holder})); got != c.want {
			t.Errorf("%v: %s, not %s", c.h, got, c.want)
		}
	}
}

func TestApplyWithoutValue(t *testing.T) {
	set, bound := newSet(t, bearer)
	h := header("Authorization", "Bearer "+holder)
	f, err := set.Judge(bound, &Request{Header: h, Target: "/"})
	if err != nil {
		t.Fatal(err)
	}
	f.Matched[0].Credential.Value.Wipe()
	if err := f.Apply(&Request{Header: h, Target: "/"}); !errors.Is(err, secret.ErrNoValue) {
		t.Errorf("Apply: %v", err)
	}
}

// TestOutbound: from any position to any other.
func TestOutbound(t *testing.T) {
	for _, c := range []struct {
		to   policy.Position
		want http.Header
	}{
		{custom, header("X-Company-Key", real)},
		{bearer, header("Authorization", "Bearer "+real)},
		{token, header("Authorization", "token "+real)},
		{password, header("Authorization", basic(":"+real))},
		{username, header("Authorization", basic(real+":"))},
	} {
		set, bound := newSet(t, policy.Position{Kind: policy.PositionHeader, Name: "x-api-key"})
		bound[0].Outbound = &c.to
		h := header("X-Api-Key", holder)
		f, err := set.Judge(bound, &Request{Header: h, Target: "/"})
		if err == nil {
			err = f.Apply(&Request{Header: h, Target: "/"})
		}
		if err != nil || !reflect.DeepEqual(h, c.want) {
			t.Errorf("%s: %v, %v", c.to, h, err)
		}
	}
}

// TestOutboundHeaderIsJudged: a foreign credential put straight where the real
// one would go.
func TestOutboundHeaderIsJudged(t *testing.T) {
	value, err := secret.New([]byte(real))
	if err != nil {
		t.Fatal(err)
	}
	defer value.Wipe()
	p := &policy.Credential{Name: "one", Positions: []policy.Position{bearer}, Outbound: &custom}
	set := New([]Credential{{Policy: p, Placeholder: holder, Value: secret.NewCell(value)}})
	if got := verdict(set.Judge([]*policy.Credential{p}, &Request{Header: header("X-Company-Key", "mine"), Target: "/"})); got != "foreign" {
		t.Error(got)
	}
}

// TestEmptyPlaceholder: it would be found in everything.
func TestEmptyPlaceholder(t *testing.T) {
	set := New([]Credential{{Policy: &policy.Credential{Name: "x", Positions: []policy.Position{bearer}}}})
	if got := verdict(set.Judge(nil, &Request{Header: header("A", "b"), Target: "/"})); got != "bare" {
		t.Error(got)
	}
}

// FuzzBasic: what decodes has one encoding, and is what net/http reads.
func FuzzBasic(f *testing.F) {
	f.Add(basic("a:b"))
	f.Add("basic YTpi")
	f.Add("Basic YTpiYg==")
	f.Fuzz(func(t *testing.T, value string) {
		user, password, ok := decodeBasic(value)
		if !ok {
			return
		}
		if got := basic(user + ":" + password); got[6:] != value[6:] {
			t.Fatalf("%q is also %q", value, got)
		}
		req := http.Request{Header: http.Header{"Authorization": {value}}}
		if u, p, ok := req.BasicAuth(); !ok || u != user || p != password {
			t.Fatalf("%q: %q %q against %q %q", value, user, password, u, p)
		}
	})
}
