// SPDX-License-Identifier: Apache-2.0

package swap

import (
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

// Values of the second credential, with what a URL and JSON have to escape.
const (
	holder2 = "12345678:phantom/0123456789+AB="
	real2   = "87654321:ca\"na\\ry&%/;0123 456=+"
)

var (
	query    = policy.Position{Kind: policy.PositionQuery, Name: "api_key"}
	segment  = policy.Position{Kind: policy.PositionPath}
	bot      = policy.Position{Kind: policy.PositionPath, Name: "bot"}
	cookie   = policy.Position{Kind: policy.PositionCookie, Name: "d"}
	field    = policy.Position{Kind: policy.PositionForm, Name: "token"}
	pointer  = policy.Position{Kind: policy.PositionJSON, Name: "/auth/0/a~1b"}
	protocol = policy.Position{Kind: policy.PositionSubprotocol}
	scheme   = policy.Position{Kind: policy.PositionScheme, Name: "Bot"}
)

// newPair is a set of two credentials, both bound.
func newPair(t testing.TB, first, second policy.Credential) (*Set, []*policy.Credential) {
	t.Helper()
	first.Name, second.Name = "one", "two"
	var list []Credential
	for _, c := range []struct {
		policy       *policy.Credential
		holder, real string
	}{{&first, holder, real}, {&second, holder2, real2}} {
		value, err := secret.New([]byte(c.real))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(value.Wipe)
		list = append(list, Credential{Policy: c.policy, Placeholder: c.holder, Value: secret.NewCell(value)})
	}
	return New(list), []*policy.Credential{&first, &second}
}

func declare(positions ...policy.Position) policy.Credential {
	return policy.Credential{Positions: positions}
}

// run judges and applies, and returns the verdict and what goes out.
func run(t testing.TB, set *Set, bound []*policy.Credential, r Request) (string, Request) {
	t.Helper()
	f, err := set.Judge(bound, &r)
	if err == nil && len(f.Matched) > 0 && !f.Foreign {
		r.Header = r.Header.Clone()
		if err := f.Apply(&r); err != nil {
			return err.Error(), r
		}
	}
	if errors.Is(err, ErrMalformed) {
		return "malformed", r
	}
	return verdict(f, err), r
}

func TestTarget(t *testing.T) {
	const escaped2 = "12345678%3Aphantom%2F0123456789%2BAB%3D"
	const out2 = "87654321%3Aca%22na%5Cry%26%25%2F%3B0123%20456%3D%2B"
	for _, c := range []struct {
		name, target, want, out string
		position                policy.Position
	}{
		{"query", "/v1?api_key=" + holder, "matched query: api_key", "/v1?api_key=" + real, query},
		{"order and escaping stay", "/v1?z=%7e+%20&&api_key=" + holder + "&a=b;c&=&q", "matched query: api_key", "/v1?z=%7e+%20&&api_key=" + real + "&a=b;c&=&q", query},
		{"name in another spelling", "/?api%5Fkey=" + holder, "misplaced", "", query},
		{"name in another case", "/?Api_Key=" + holder, "misplaced", "", query},
		{"another name", "/?key2=" + holder, "misplaced", "", query},
		{"twice", "/?api_key=" + holder + "&api_key=" + holder, "duplicate", "", query},
		{"and a foreign one", "/?api_key=" + holder + "&api_key=x", "matched and foreign", "", query},
		{"and a foreign one behind a semicolon", "/?a=1;api_key=x&api_key=" + holder, "matched and foreign", "", query},
		{"and a foreign one, name escaped", "/?api%5fkey=x&api_key=" + holder, "matched and foreign", "", query},
		{"foreign", "/?api_key=x", "foreign", "", query},
		{"empty", "/?api_key=", "bare", "", query},
		{"behind a semicolon", "/?a=1;api_key=" + holder, "misplaced", "", query},
		{"prefix", "/?api_key=x" + holder, "misplaced", "", query},
		{"part", "/?api_key=" + holder[1:], "foreign", "", query},
		{"over-escaped", "/?api_key=%73" + holder[1:], "misplaced", "", query},
		{"and in the path", "/" + holder + "?api_key=" + holder, "misplaced", "", query},
		{"not in the query", "/api_key=" + holder, "misplaced", "", query},
		{"segment", "/a/" + holder + "/b?c", "matched path", "/a/" + real + "/b?c", segment},
		{"last segment", "/" + holder, "matched path", "/" + real, segment},
		{"segment behind an empty one", "//" + holder + "/", "matched path", "//" + real + "/", segment},
		{"two segments", "/" + holder + "/" + holder, "duplicate", "", segment},
		{"segment with more", "/a" + holder + "/", "misplaced", "", segment},
		{"segment with parameter", "/" + holder + ";x/", "misplaced", "", segment},
		{"segment in the query", "/x?/" + holder + "/", "misplaced", "", segment},
		{"segment and query", "/" + holder + "?q=" + holder, "misplaced", "", segment},
		{"prefixed segment", "/bot" + holder + "/getMe", "matched path: bot", "/bot" + real + "/getMe", bot},
		{"prefixed segment, later", "/file/bot" + holder + "/a.jpg", "matched path: bot", "/file/bot" + real + "/a.jpg", bot},
		{"without the prefix", "/" + holder + "/getMe", "misplaced", "", bot},
		{"prefix in another case", "/Bot" + holder + "/getMe", "misplaced", "", bot},
		{"prefix escaped", "/%62ot" + holder + "/getMe", "misplaced", "", bot},
		{"neither", "/getMe?x=1", "bare", "", bot},
	} {
		t.Run(c.name, func(t *testing.T) {
			set, bound := newSet(t, c.position)
			got, r := run(t, set, bound, Request{Header: header(), Target: c.target})
			if got != c.want {
				t.Errorf("%s, not %s", got, c.want)
			}
			if c.out != "" && r.Target != c.out {
				t.Errorf("target %s", r.Target)
			}
		})
	}
	for target, out := range map[string]string{
		"/?api_key=" + holder2:                                    "/?api_key=" + out2,
		"/?api_key=" + escaped2:                                   "/?api_key=" + out2,
		"/?api_key=" + lowerDigits(escaped2):                      "/?api_key=" + out2,
		"/bot" + escaped2 + "/x":                                  "/bot" + out2 + "/x",
		"/?api_key=12345678:phantom/0123456789%2BAB=":             "",
		"/?api_key=" + strings.Replace(escaped2, "%3A", "%3a", 1): "",
	} {
		set, bound := newPair(t, declare(bearer), declare(query, bot))
		got, r := run(t, set, bound, Request{Header: header(), Target: target})
		if out == "" && got != "misplaced" || out != "" && r.Target != out {
			t.Errorf("%s: %s, %s", target, got, r.Target)
		}
	}
	// In a segment what may stand there does, where it did before.
	set, bound := newPair(t, declare(segment), declare(bearer))
	value, err := secret.New([]byte("87654321:canary=+;/?#%0123"))
	if err != nil {
		t.Fatal(err)
	}
	defer value.Wipe()
	set.credentials[0].Value = secret.NewCell(value)
	if _, r := run(t, set, bound, Request{Header: header(), Target: "/" + holder + "/x"}); r.Target != "/87654321:canary=+%3B%2F%3F%23%250123/x" {
		t.Errorf("target %s", r.Target)
	}
}

func TestCookieAndProtocol(t *testing.T) {
	ws := func(items ...string) http.Header { return http.Header{"Sec-Websocket-Protocol": items} }
	for _, c := range []struct {
		name     string
		position policy.Position
		upgrade  bool
		header   http.Header
		want     string
		out      http.Header
	}{
		{"cookie", cookie, false, header("Cookie", "a=1;  d="+holder+" ;b"), "matched cookie: d", header("Cookie", "a=1;  d="+real+" ;b")},
		{"cookie in a second field", cookie, false, header("Cookie", "a=1", "Cookie", "d="+holder), "matched cookie: d", header("Cookie", "a=1", "Cookie", "d="+real)},
		{"cookie of another name", cookie, false, header("Cookie", "D="+holder), "misplaced", nil},
		{"cookie twice", cookie, false, header("Cookie", "d="+holder+"; d=x"), "duplicate", nil},
		{"cookie twice the same", cookie, false, header("Cookie", "d="+holder, "Cookie", "d="+holder), "duplicate", nil},
		{"cookie quoted", cookie, false, header("Cookie", `d="`+holder+`"`), "misplaced", nil},
		{"cookie elsewhere too", cookie, false, header("Cookie", "d="+holder+"; e="+holder), "misplaced", nil},
		{"cookie not declared", bearer, false, header("Cookie", "d="+holder), "misplaced", nil},
		{"another cookie", cookie, false, header("Cookie", "d=x"), "bare", nil},
		{"protocol", protocol, true, ws("realtime, openai-insecure-api-key." + holder + ",v1"), "matched subprotocol", ws("realtime, openai-insecure-api-key." + real + ",v1")},
		{"protocol alone", protocol, true, ws(holder), "matched subprotocol", ws(real)},
		{"protocol in a second field", protocol, true, ws("a", "b."+holder), "matched subprotocol", ws("a", "b."+real)},
		{"protocol without a dot", protocol, true, ws("key-" + holder), "misplaced", nil},
		{"protocol, more behind", protocol, true, ws(holder + ".x"), "misplaced", nil},
		{"protocol twice", protocol, true, ws("a." + holder + ", b." + holder), "duplicate", nil},
		{"protocol without upgrade", protocol, false, ws("a." + holder), "misplaced", nil},
		{"protocol not declared", bearer, true, ws("a." + holder), "misplaced", nil},
		{"foreign protocol", protocol, true, ws("Openai-Insecure-Api-Key.sk-mine"), "foreign", nil},
		{"other protocol", protocol, true, ws("realtime, openai-beta.realtime-v1"), "bare", nil},
		{"scheme", scheme, false, header("Authorization", "bot "+holder), "matched scheme: Bot", header("Authorization", "Bot "+real)},
		{"another scheme", scheme, false, header("Authorization", "Bearer "+holder), "misplaced", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			set, bound := newSet(t, c.position)
			got, r := run(t, set, bound, Request{Header: c.header, Target: "/", Upgrade: c.upgrade})
			if got != c.want {
				t.Errorf("%s, not %s", got, c.want)
			}
			if c.out != nil && !reflect.DeepEqual(r.Header, c.out) {
				t.Errorf("%v", r.Header)
			}
		})
	}
}

// TestStripped: what Connection took away is there again (H6).
func TestStripped(t *testing.T) {
	for _, c := range []struct {
		position policy.Position
		header   http.Header
		out      http.Header
	}{
		{cookie, header("Cookie", "a=1; d="+holder), header("Cookie", "d="+real)},
		{protocol, header("Sec-Websocket-Protocol", "a."+holder), header("Sec-Websocket-Protocol", "a."+real)},
	} {
		set, bound := newSet(t, c.position)
		f, err := set.Judge(bound, &Request{Header: c.header, Target: "/", Upgrade: true})
		if err != nil {
			t.Fatal(err)
		}
		r := Request{Header: make(http.Header), Target: "/"}
		if err := f.Apply(&r); err != nil || !reflect.DeepEqual(r.Header, c.out) {
			t.Errorf("%v, %v", r.Header, err)
		}
	}
}

// TestUnfit: a value that would end its place is not written.
func TestUnfit(t *testing.T) {
	set, bound := newPair(t, declare(bearer), declare(cookie, protocol))
	for _, h := range []http.Header{header("Cookie", "d="+holder2), header("Sec-WebSocket-Protocol", "a."+holder2)} {
		if got, _ := run(t, set, bound, Request{Header: h, Target: "/", Upgrade: true}); got != ErrUnfit.Error() {
			t.Errorf("%v: %s", h, got)
		}
	}
}

// TestRestore: the answer names what the client offered.
func TestRestore(t *testing.T) {
	set, bound := newSet(t, protocol)
	f, err := set.Judge(bound, &Request{Header: header("Sec-WebSocket-Protocol", "chat, key."+holder), Target: "/", Upgrade: true})
	if err != nil {
		t.Fatal(err)
	}
	h := header("Sec-WebSocket-Protocol", "key."+real, "Sec-WebSocket-Protocol", "chat,key."+real)
	f.Restore(h)
	if want := header("Sec-WebSocket-Protocol", "key."+holder, "Sec-WebSocket-Protocol", "chat,key."+holder); !reflect.DeepEqual(h, want) {
		t.Errorf("%v", h)
	}
}

// TestSeveral: places of one credential and of two.
func TestSeveral(t *testing.T) {
	apikey, app := policy.Position{Kind: policy.PositionHeader, Name: "dd-api-key"}, policy.Position{Kind: policy.PositionHeader, Name: "dd-application-key"}
	for _, c := range []struct {
		name          string
		first, second policy.Credential
		header        http.Header
		target        string
		want          string
		out           http.Header
		outTarget     string
	}{
		{"two headers of one", declare(apikey, bearer), declare(app), header("Dd-Api-Key", holder, "Authorization", "Bearer "+holder), "/",
			"matched header: dd-api-key, bearer", header("Dd-Api-Key", real, "Authorization", "Bearer "+real), "/"},
		{"two credentials", declare(apikey), declare(app), header("Dd-Api-Key", holder, "Dd-Application-Key", holder2), "/",
			"matched header: dd-api-key, header: dd-application-key", header("Dd-Api-Key", real, "Dd-Application-Key", real2), "/"},
		{"crossed", declare(apikey), declare(app), header("Dd-Api-Key", holder2, "Dd-Application-Key", holder), "/", "misplaced", nil, ""},
		{"header and query", declare(apikey), declare(query), header("Dd-Api-Key", holder), "/?api_key=12345678%3Aphantom%2F0123456789%2BAB%3D",
			"matched header: dd-api-key, query: api_key", header("Dd-Api-Key", real), "/?api_key=87654321%3Aca%22na%5Cry%26%25%2F%3B0123%20456%3D%2B"},
		{"both halves of Basic", declare(username), declare(password), header("Authorization", basic(holder+":"+holder2)), "/",
			"matched basic: username, basic: password", header("Authorization", basic(real+":"+real2)), "/"},
		{"halves crossed", declare(username), declare(password), header("Authorization", basic("1:"+holder)), "/", "misplaced", nil, ""},
		{"one and a foreign one", declare(apikey), declare(app), header("Dd-Api-Key", holder, "Dd-Application-Key", "x"), "/", "matched and foreign", nil, ""},
		{"username in the path too", declare(username, segment), declare(password), header("Authorization", basic(holder+":"+holder2)), "/" + holder + "/x",
			"matched basic: username, path, basic: password", header("Authorization", basic(real+":"+real2)), "/" + real + "/x"},
		{"moved from both", policy.Credential{Positions: []policy.Position{apikey, bearer}, Outbound: &raw}, declare(app),
			header("Dd-Api-Key", holder, "Authorization", "Bearer "+holder), "/", "matched header: dd-api-key, bearer", header("Authorization", real), "/"},
		{"moved onto another", policy.Credential{Positions: []policy.Position{apikey}, Outbound: &bearer}, declare(token),
			header("Dd-Api-Key", holder, "Authorization", "token "+holder2), "/", "duplicate", nil, ""},
		{"moved out of a shared Basic", policy.Credential{Positions: []policy.Position{username}, Outbound: &apikey}, declare(password),
			header("Authorization", basic(holder+":"+holder2)), "/", "duplicate", nil, ""},
		{"moved beside another", policy.Credential{Positions: []policy.Position{bearer}, Outbound: &apikey}, declare(app),
			header("Authorization", "Bearer "+holder, "Dd-Application-Key", holder2), "/", "matched bearer, header: dd-application-key",
			header("Dd-Api-Key", real, "Dd-Application-Key", real2), "/"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 20 { // the header is a map: in every order
				set, bound := newPair(t, c.first, c.second)
				got, r := run(t, set, bound, Request{Header: c.header, Target: c.target})
				if got != c.want {
					t.Fatalf("%s, not %s", got, c.want)
				}
				if c.out != nil && (!reflect.DeepEqual(r.Header, c.out) || r.Target != c.outTarget) {
					t.Fatalf("%s %v", r.Target, r.Header)
				}
			}
		})
	}
}

// TestOutboundQuery: into the query, and out of it, the rest untouched.
func TestOutboundQuery(t *testing.T) {
	for _, c := range []struct {
		from, to    policy.Position
		header      http.Header
		target, out string
	}{
		{bearer, query, header("Authorization", "Bearer "+holder), "/a", "/a?api_key=" + real},
		{bearer, query, header("Authorization", "Bearer "+holder), "/a?", "/a?api_key=" + real},
		{bearer, query, header("Authorization", "Bearer "+holder), "/a?b=%7e", "/a?b=%7e&api_key=" + real},
		{bearer, query, header("Authorization", "Bearer "+holder), "/a?b&", "/a?b&api_key=" + real},
		{query, bearer, header(), "/a?api_key=" + holder, "/a"},
		{query, bearer, header(), "/a?b&api_key=" + holder + "&c", "/a?b&c"},
		{query, bearer, header(), "/a?api_key=" + holder + "&c", "/a?c"},
		{query, bearer, header(), "/a?b&api_key=" + holder, "/a?b"},
		{query, query, header(), "/a?api_key=" + holder + "&b", "/a?b&api_key=" + real},
		{query, query, header(), "/a?api_key=" + holder, "/a?api_key=" + real},
		{cookie, bearer, header("Cookie", "a=1; d="+holder+"; b=2"), "/a", "/a"},
	} {
		set, bound := newSet(t, c.from)
		bound[0].Outbound = &c.to
		_, r := run(t, set, bound, Request{Header: c.header, Target: c.target})
		if r.Target != c.out || (r.Header.Get("Authorization") != "") != (c.to == bearer) {
			t.Errorf("%s to %s: %s %v", c.from, c.to, r.Target, r.Header)
		}
		if c.from == cookie && r.Header.Get("Cookie") != "a=1; b=2" {
			t.Errorf("%v", r.Header)
		}
	}
}

// TestDeclaredQueryIsJudged: a foreign credential under a name of ours, at the
// hosts of the credential that declares it and no other.
func TestDeclaredQueryIsJudged(t *testing.T) {
	own := policy.Position{Kind: policy.PositionQuery, Name: "signed-in-as"}
	moved := declare(bearer)
	moved.Outbound = &own
	for _, first := range []policy.Credential{declare(own), moved} {
		set, bound := newPair(t, first, declare(token))
		for i, want := range []string{"foreign", "bare"} {
			if got, _ := run(t, set, bound[i:i+1], Request{Header: header(), Target: "/?Signed-In-As=mallory"}); got != want {
				t.Errorf("%d: %s", i, got)
			}
		}
	}
}

// FuzzTarget: against a reading of its own, only the one value differs, and a
// placeholder anywhere else is never let through.
func FuzzTarget(f *testing.F) {
	f.Add("/a%2Fb", "z=%7e&", "&c;d")
	f.Add("//x", "", "&api_key=")
	f.Add("/", "a=1;", "")
	f.Fuzz(func(t *testing.T, path, before, after string) {
		set, bound := newSet(t, query)
		target := "/" + path + "?" + before + "api_key=" + holder + after
		got, r := run(t, set, bound, Request{Header: header(), Target: target})
		if got != "matched query: api_key" {
			return
		}
		if strings.Contains(r.Target, holder) {
			t.Fatalf("%q became %q", target, r.Target)
		}
		p, q, _ := strings.Cut(target, "?")
		pairs := strings.Split(q, "&")
		ours := 0
		for i, pair := range pairs {
			if pair == "api_key="+holder {
				ours++
				pairs[i] = "api_key=" + real
			}
		}
		if want := p + "?" + strings.Join(pairs, "&"); ours != 1 || r.Target != want {
			t.Fatalf("%q became %q, not %q", target, r.Target, want)
		}
	})
}
