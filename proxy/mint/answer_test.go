// SPDX-License-Identifier: Apache-2.0

package mint

import (
	"encoding/json"
	"strings"
	"testing"
)

func listed(a *Answer) string {
	var out []string
	for _, f := range a.Fields {
		out = append(out, f.Name+"="+f.Value)
	}
	return strings.Join(out, " ")
}

func TestRead(t *testing.T) {
	for _, c := range []struct{ name, media, text, want string }{
		{"json", "application/json", `{"access_token":"A","expires_in":3600,"x":null}`, "access_token=A"},
		{"json, spaced", "Application/JSON; charset=UTF-8", " { \"Access_Token\" :\r\n\t\"A\" , \"b\" : [ ] , \"c\" : \"C\" } ", "access_token=A c=C"},
		{"json, nested", "", `{"a":{"token":"A","b":[{"token":"B"}]},"token":"C"}`, "token=A token=B token=C"},
		{"json, escaped", "application/json", `{"to\u006ben":"a\"b\\","x":"\u00e9"}`, `token=a"b\ x=é`},
		{"json, twice", "application/json", `{"token":"A","token":"B"}`, "token=A token=B"},
		{"json, list", "application/json", `{"tokens":["A","B"],"n":{"k":"v"},"o":"p"}`, "tokens=A tokens=B k=v o=p"},
		{"json, text as a list's", "application/json", `["A",{"b":"B"}]`, "b=B"},
		{"json, alone", "application/json", `"A"`, ""},
		{"json, quotes in names", "application/json", `{"a\"":"A\"","b":"B"}`, `a"=A" b=B`},
		{"form", "application/x-www-form-urlencoded", "access_token=A%2Bb&scope=&token_type=bearer", "access_token=A+b scope= token_type=bearer"},
		{"form, one", "application/x-www-form-urlencoded", "access_token=A\n", "access_token=A"},
		{"xml", "text/xml", `<?xml version="1.0"?><r xmlns="x"><C><SecretAccessKey>A&amp;b</SecretAccessKey> <T>
			B </T></C></r>`, "secretaccesskey=A&b t=B"},
		{"xml, cdata", "application/xml", `<r><T><![CDATA[A]]></T></r>`, "t=A"},
		{"empty", "application/json", " \n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := Read(c.media, []byte(c.text))
			if err != nil || listed(a) != c.want {
				t.Errorf("%v, %v", listed(a), err)
			}
		})
	}
}

func TestReadRefused(t *testing.T) {
	for name, c := range map[string][2]string{
		"html":            {"text/html", "<html>sorry</html>"},
		"html as json":    {"application/json", "<html>sorry</html>"},
		"text":            {"text/plain", "token: A"},
		"two jsons":       {"application/json", `{"a":"b"}{"token":"A"}`},
		"cut json":        {"application/json", `{"token":"A"`},
		"latin json":      {"application/json; charset=iso-8859-1", `{"token":"A"}`},
		"utf-16":          {"application/json", "{\x00\"\x00"},
		"json as a form":  {"application/x-www-form-urlencoded", `{"token":"A"}`},
		"html as a form":  {"application/x-www-form-urlencoded", "<p>a=b"},
		"bad escape":      {"application/x-www-form-urlencoded", "a=%zz"},
		"cut xml":         {"text/xml", "<a><token>A</token>"},
		"xml with a type": {"text/xml", `<!DOCTYPE a [<!ENTITY t "A">]><a><token>&t;</token></a>`},
		"xml entity":      {"text/xml", `<a><token>&t;</token></a>`},
	} {
		if a, err := Read(c[0], []byte(c[1])); err != ErrAnswer {
			t.Errorf("%s: %v, %v", name, a, err)
		}
	}
}

// TestReplace: the texts alone change.
func TestReplace(t *testing.T) {
	for _, c := range []struct{ media, text, want string }{
		{"application/json", `{ "token" : "A\"A" ,"x":"A","y":{"Token":"B"} }`, `{ "token" : "p+1" ,"x":"A","y":{"Token":"p+1"} }`},
		{"application/x-www-form-urlencoded", "x=A&token=A&y=", "x=A&token=p%2B1&y="},
		{"text/xml", "<r><x>A</x><Token> A&amp;\n</Token></r>", "<r><x>A</x><Token> p+1\n</Token></r>"},
		{"text/xml", "<r><Token><![CDATA[A]]></Token></r>", "<r><Token>p+1</Token></r>"},
	} {
		a, err := Read(c.media, []byte(c.text))
		if err != nil {
			t.Fatal(err)
		}
		texts := make(map[int]string)
		for i, f := range a.Fields {
			if f.Name == "token" {
				texts[i] = "p+1"
			}
		}
		if got := string(a.Replace(texts)); got != c.want {
			t.Errorf("%s\n%s", got, c.want)
		}
	}
}

// FuzzRead: whatever is read, all that a client finds under a name is in
// Fields, and all of it can be replaced.
func FuzzRead(f *testing.F) {
	f.Add("application/json", []byte(`{"token":"A","a":[{"token":"B"}],"token":{"token":"\"C"}}`))
	f.Add("application/x-www-form-urlencoded", []byte("token=A&b=C&token"))
	f.Add("text/xml", []byte("<a><token>A</token></a>"))
	f.Fuzz(func(t *testing.T, media string, text []byte) {
		a, err := Read(media, text)
		if err != nil {
			return
		}
		texts := make(map[int]string)
		for i := range a.Fields {
			texts[i] = "replaced"
		}
		b, err := Read(media, a.Replace(texts))
		if err != nil || len(b.Fields) != len(a.Fields) {
			t.Fatalf("%q: %v", a.Replace(texts), err)
		}
		for _, f := range b.Fields {
			if f.Value != "replaced" {
				t.Fatalf("%q: %q", a.Replace(texts), f.Value)
			}
		}
		var tree any
		if !a.form && json.Unmarshal(text, &tree) == nil {
			if n := named(tree, false); n > len(a.Fields) {
				t.Fatalf("%q has %d texts, %d were found", text, n, len(a.Fields))
			}
		}
	})
}

// named counts the texts under a name. Of one that is there twice, a tree has
// the last.
func named(tree any, below bool) (n int) {
	switch v := tree.(type) {
	case string:
		if below {
			return 1
		}
	case []any:
		for _, e := range v {
			n += named(e, below)
		}
	case map[string]any:
		for name, e := range v {
			n += named(e, below || name != "")
		}
	}
	return n
}
