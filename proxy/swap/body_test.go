// SPDX-License-Identifier: Apache-2.0

package swap

import (
	"bytes"
	"encoding/json"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

func TestBodyKind(t *testing.T) {
	set, bound := newSet(t, field, pointer)
	_, head := newSet(t, bearer, query)
	_, formOnly := newSet(t, field)
	for _, c := range []struct {
		bound  []*policy.Credential
		header http.Header
		want   Body
	}{
		{bound, header("Content-Type", "application/json"), JSON},
		{bound, header("Content-Type", "Application/JSON ; charset=\"UTF-8\""), JSON},
		{bound, header("Content-Type", "application/json;"), JSON},
		{bound, header("Content-Type", "application/x-www-form-urlencoded; charset=utf-8"), Form},
		{bound, header("Content-Type", "application/json", "Content-Encoding", "identity"), JSON},
		{bound, header("Content-Type", "application/json", "Content-Encoding", "gzip"), NoBody},
		{bound, header("Content-Type", "application/json; charset=utf-16"), NoBody},
		{bound, header("Content-Type", "application/json-patch+json"), NoBody},
		{bound, header("Content-Type", "multipart/form-data; boundary=x"), NoBody},
		{bound, header(), NoBody},
		{formOnly, header("Content-Type", "application/json"), NoBody},
		{head, header("Content-Type", "application/json"), NoBody},
		{nil, header("Content-Type", "application/json"), NoBody},
	} {
		if got, err := set.Body(c.bound, c.header, "/"); got != c.want || err != nil {
			t.Errorf("%v: %v, %v", c.header, got, err)
		}
	}
	if _, err := set.Body(bound, header("Content-Type", "text/plain", "Content-Type", "application/json"), "/"); err != ErrVariant {
		t.Errorf("two types: %v", err)
	}
}

func TestForm(t *testing.T) {
	for _, c := range []struct{ name, body, want, out string }{
		{"alone", "token=" + holder, "matched form: token", "token=" + real},
		{"order and bytes stay", "a=%7e+x&&token=" + holder + "&b=\x00;&=", "matched form: token", "a=%7e+x&&token=" + real + "&b=\x00;&="},
		{"elsewhere too", "text=" + holder + "&token=" + holder, "matched form: token", "text=" + holder + "&token=" + real},
		{"elsewhere alone", "text=" + holder, "bare", ""},
		{"twice", "token=" + holder + "&token=" + holder, "duplicate", ""},
		{"and a foreign one", "token=" + holder + "&token=x", "duplicate", ""},
		{"and an empty one", "token=&token=" + holder, "duplicate", ""},
		{"and in another case", "Token=x&token=" + holder, "duplicate", ""},
		{"and escaped", "t%6Fken=x&token=" + holder, "duplicate", ""},
		{"name escaped", "t%6Fken=" + holder, "foreign", ""},
		{"foreign", "token=x", "foreign", ""},
		{"part", "token=" + holder[:20], "foreign", ""},
		{"over-escaped", "token=%73" + holder[1:], "foreign", ""},
		{"with a semicolon", "token=" + holder + ";a=1", "foreign", ""},
		{"empty value", "token=", "bare", ""},
		{"no value", "token", "bare", ""},
		{"nothing", "", "bare", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			set, bound := newSet(t, field)
			got, r := run(t, set, bound, Request{Header: header(), Target: "/", Body: Form, Content: []byte(c.body)})
			if got != c.want || c.out != "" && string(r.Content) != c.out {
				t.Errorf("%s, %q", got, r.Content)
			}
		})
	}
}

func TestJSON(t *testing.T) {
	const text = "\"" + holder + "\""
	for _, c := range []struct{ name, body, want, out string }{
		{"there", ` {"x" : 1e2, "auth":[ {"a/b" : ` + text + ` ,"c":"\u0041"}],"y":{}}` + "\n", "matched json: /auth/0/a~1b",
			` {"x" : 1e2, "auth":[ {"a/b" : "` + real + `" ,"c":"\u0041"}],"y":{}}` + "\n"},
		{"key escaped", `{"\u0061uth":[{"a\/b":` + text + `}]}`, "matched json: /auth/0/a~1b", `{"\u0061uth":[{"a\/b":"` + real + `"}]}`},
		{"elsewhere too", `{"auth":[{"a/b":` + text + `},` + text + `],"t":` + text + `}`, "matched json: /auth/0/a~1b",
			`{"auth":[{"a/b":"` + real + `"},` + text + `],"t":` + text + `}`},
		{"elsewhere alone", `{"token":` + text + `,"auth":[{"a":` + text + `}]}`, "bare", ""},
		{"as a key", `{` + text + `:1}`, "bare", ""},
		{"another index", `{"auth":[1,{"a/b":` + text + `}]}`, "bare", ""},
		{"index of an object", `{"auth":{"0":{"a/b":` + text + `}}}`, "matched json: /auth/0/a~1b", `{"auth":{"0":{"a/b":"` + real + `"}}}`},
		{"key twice", `{"auth":[{"a/b":` + text + `,"a/b":` + text + `}]}`, "duplicate", ""},
		{"key twice, escaped", `{"auth":[{"a/b":` + text + `,"\u0061/b":"x"}]}`, "duplicate", ""},
		{"key twice, on the way", `{"auth":[{"a/b":` + text + `}],"auth":1}`, "duplicate", ""},
		{"key in two cases", `{"auth":[{"a/b":` + text + `,"A/B":"x"}]}`, "duplicate", ""},
		{"other key twice", `{"z":1,"z":2,"auth":[{"a/b":` + text + `}]}`, "matched json: /auth/0/a~1b", `{"z":1,"z":2,"auth":[{"a/b":"` + real + `"}]}`},
		{"foreign", `{"auth":[{"a/b":"x"}]}`, "foreign", ""},
		{"foreign object", `{"auth":[{"a/b":{"x":` + text + `}}]}`, "foreign", ""},
		{"value escaped", `{"auth":[{"a/b":"\u0073` + holder[1:] + `"}]}`, "foreign", ""},
		{"part", `{"auth":[{"a/b":"` + holder[1:] + `"}]}`, "foreign", ""},
		{"empty", `{"auth":[{"a/b":""}]}`, "bare", ""},
		{"null", `{"auth":[{"a/b":null}]}`, "bare", ""},
		{"no object", text, "bare", ""},
		{"empty array", `{"auth":[]}`, "bare", ""},
		{"white space", " \n", "bare", ""},
		{"two values", `{} {"auth":[{"a/b":` + text + `}]}`, "malformed", ""},
		{"byte order mark", "\ufeff{}", "malformed", ""},
		{"cut short", `{"auth":[{"a/b":` + text, "malformed", ""},
		{"comma too many", `{"auth":[{"a/b":` + text + `},]}`, "malformed", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			set, bound := newSet(t, pointer)
			got, r := run(t, set, bound, Request{Header: header(), Target: "/", Body: JSON, Content: []byte(c.body)})
			if got != c.want || c.out != "" && string(r.Content) != c.out {
				t.Errorf("%s, %s", got, r.Content)
			}
		})
	}
}

// TestBodyEscapes: a value is written as its place needs it.
func TestBodyEscapes(t *testing.T) {
	root := policy.Position{Kind: policy.PositionJSON, Name: "/k"}
	for _, c := range []struct {
		kind      Body
		body, out string
	}{
		{JSON, `{"k":"` + holder2 + `"}`, `{"k":"87654321:ca\"na\\ry&%/;0123 456=+"}`},
		{JSON, `{"k":"` + strings.ReplaceAll(holder2, "/", `\/`) + `"}`, `{"k":"87654321:ca\"na\\ry&%/;0123 456=+"}`},
		{Form, "token=" + escape(holder2, false), "token=" + escape(real2, false)},
		{Form, "token=" + holder2, "token=" + escape(real2, false)},
	} {
		set, bound := newPair(t, declare(bearer), declare(root, field))
		if got, r := run(t, set, bound, Request{Header: header(), Target: "/", Body: c.kind, Content: []byte(c.body)}); string(r.Content) != c.out {
			t.Errorf("%s: %s", got, r.Content)
		}
	}
}

// TestTwoFields: two credentials in one body, and one in head and body.
func TestTwoFields(t *testing.T) {
	id := policy.Position{Kind: policy.PositionForm, Name: "id"}
	set, bound := newPair(t, declare(field, bearer), declare(id))
	got, r := run(t, set, bound, Request{Header: header("Authorization", "Bearer "+holder), Target: "/", Body: Form,
		Content: []byte("token=" + holder + "&id=" + holder2)})
	if got != "matched form: token, bearer, form: id" || string(r.Content) != "token="+real+"&id="+escape(real2, false) ||
		r.Header.Get("Authorization") != "Bearer "+real {
		t.Errorf("%s: %s %v", got, r.Content, r.Header)
	}
}

// TestCrossedFields: a field is for the credential that declares it.
func TestCrossedFields(t *testing.T) {
	at := func(kind policy.PositionKind, name string) policy.Credential {
		return declare(policy.Position{Kind: kind, Name: name})
	}
	for _, c := range []struct {
		kind          Body
		first, second policy.Credential
		body          string
	}{
		{Form, at(policy.PositionForm, "a"), at(policy.PositionForm, "b"), "a=" + holder2 + "&b=" + holder},
		{JSON, at(policy.PositionJSON, "/a"), at(policy.PositionJSON, "/b"), `{"a":"` + holder2 + `","b":"` + holder + `"}`},
	} {
		set, bound := newPair(t, c.first, c.second)
		got, r := run(t, set, bound, Request{Header: header(), Target: "/", Body: c.kind, Content: []byte(c.body)})
		if got != "foreign" || string(r.Content) != c.body {
			t.Errorf("%s: %s", got, r.Content)
		}
	}
}

// FuzzForm: against a reading of its own, only the one value differs.
func FuzzForm(f *testing.F) {
	f.Add("a=b&", "&c=d;e")
	f.Add("t%6fken=&", "")
	f.Add("", "&Token=x")
	f.Fuzz(func(t *testing.T, before, after string) {
		set, bound := newSet(t, field)
		body := before + "token=" + holder + after
		got, r := run(t, set, bound, Request{Header: header(), Target: "/", Body: Form, Content: []byte(body)})
		if got != "matched form: token" {
			if string(r.Content) != body {
				t.Fatalf("%s, and changed: %q", got, r.Content)
			}
			return
		}
		was, is := strings.Split(body, "&"), strings.Split(string(r.Content), "&")
		changed := 0
		for i := range was {
			if len(is) != len(was) {
				t.Fatalf("%q: %q", body, r.Content)
			}
			if was[i] == is[i] {
				continue
			}
			if changed++; was[i] != "token="+holder || is[i] != "token="+real {
				t.Fatalf("%q became %q", was[i], is[i])
			}
		}
		if changed != 1 {
			t.Fatalf("%d changes in %q", changed, body)
		}
	})
}

// FuzzJSON: against encoding/json, only the value at the pointer differs, and
// nothing is overlooked there.
func FuzzJSON(f *testing.F) {
	f.Add(`{"auth":[{"a/b":"HOLDER"}]}`, "/auth/0/a~1b")
	f.Add(`{"a":"HOLDER","a":1}`, "/a")
	f.Add(` [ "HOLDER" , [ ] , { } ] `, "/0")
	f.Add(`{"":{"~":"HOLDER"}}`, "//~0")
	f.Add(`{"a":{"b":"HOLDER","c":"\"HOLDER\\"}}`, "/a/b")
	f.Fuzz(func(t *testing.T, text, at string) {
		if at == "" || at[0] != '/' || strings.Contains(strings.NewReplacer("~0", "", "~1", "").Replace(at), "~") {
			return
		}
		body := []byte(strings.ReplaceAll(text, "HOLDER", holder))
		set, bound := newSet(t, policy.Position{Kind: policy.PositionJSON, Name: at})
		got, r := run(t, set, bound, Request{Header: header(), Target: "/", Body: JSON, Content: bytes.Clone(body)})
		was, ok := decodeJSON(body)
		if !ok {
			if got != "malformed" && len(bytes.TrimSpace(body)) > 0 {
				t.Fatalf("%s for what is no JSON: %q", got, body)
			}
			return
		}
		tokens := strings.Split(at[1:], "/")
		for i := range tokens {
			tokens[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(tokens[i])
		}
		value := lookUp(was, tokens)
		switch got {
		case "duplicate":
			return
		case "bare":
			if value != nil && value != "" {
				t.Fatalf("%v is overlooked at %q in %q", value, at, body)
			}
			return
		case "foreign":
			if value == nil || value == "" {
				t.Fatalf("nothing is foreign at %q in %q", at, body)
			}
			return
		}
		is, ok := decodeJSON(r.Content)
		if !ok || value != holder {
			t.Fatalf("%s, %q became %q", got, body, r.Content)
		}
		if !reflect.DeepEqual(replaceAt(was, tokens), is) || len(body)-len(holder) != len(r.Content)-len(real) {
			t.Fatalf("%q became %q", body, r.Content)
		}
	})
}

func decodeJSON(text []byte) (value any, ok bool) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if !json.Valid(text) || d.Decode(&value) != nil {
		return nil, false
	}
	return value, true
}

func indexOf(token string, n int) int {
	i, err := strconv.Atoi(token)
	if err != nil || strconv.Itoa(i) != token || i >= n {
		return -1
	}
	return i
}

func lookUp(value any, tokens []string) any {
	if len(tokens) == 0 {
		return value
	}
	switch v := value.(type) {
	case map[string]any:
		return lookUp(v[tokens[0]], tokens[1:])
	case []any:
		if i := indexOf(tokens[0], len(v)); i >= 0 {
			return lookUp(v[i], tokens[1:])
		}
	}
	return nil
}

func replaceAt(value any, tokens []string) any {
	if len(tokens) == 0 {
		return real
	}
	switch v := value.(type) {
	case map[string]any:
		v[tokens[0]] = replaceAt(v[tokens[0]], tokens[1:])
	case []any:
		i := indexOf(tokens[0], len(v))
		v[i] = replaceAt(v[i], tokens[1:])
	}
	return value
}
