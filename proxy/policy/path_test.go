// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"regexp"
	"strings"
	"testing"
)

func TestReadPath(t *testing.T) {
	for name, c := range map[string]struct {
		raw, path string
		want      reading
	}{
		"root":                  {"/", "/", plain},
		"plain":                 {"/v1/models", "/v1/models", plain},
		"trailing slash":        {"/v1/", "/v1/", plain},
		"dots in a name":        {"/v1/..x/x..", "/v1/..x/x..", plain},
		"three dots":            {"/...", "/...", plain},
		"parameter":             {"/a;b=c/d", "/a;b=c/d", plain},
		"decoded":               {"/v1/%61", "/v1/a", plain},
		"encoded space":         {"/a%20b", "/a b", plain},
		"encoded UTF-8":         {"/%c3%a9", "/é", plain},
		"encoded question mark": {"/a%3Fb", "/a?b", plain},
		"lone percent":          {"/a%25b", "/a%b", plain},
		"encoded slash":         {"/a%2Fb", "/a/b", ambiguous},
		"encoded slash, lower":  {"/a%2fb", "/a/b", ambiguous},
		"double slash":          {"/a//b", "", ambiguous},
		"double slash in front": {"//a", "", ambiguous},
		"double slash at end":   {"/a//", "", ambiguous},
		"dot dot":               {"/a/../b", "", ambiguous},
		"dot dot at end":        {"/a/..", "", ambiguous},
		"dot":                   {"/a/./b", "", ambiguous},
		"encoded dot dot":       {"/a/%2e%2E/b", "", ambiguous},
		"half-encoded dot dot":  {"/a/.%2e", "", ambiguous},
		"dot dot parameter":     {"/a/..;/b", "", ambiguous},
		"dot dot parameter, 2":  {"/a/..%3bx/b", "", ambiguous},
		"backslash":             {`/a\b`, "", ambiguous},
		"encoded backslash":     {"/a%5cb", "", ambiguous},
		"twice encoded slash":   {"/a%252Fb", "", ambiguous},
		"twice encoded dots":    {"/a/%252e%252e/b", "", ambiguous},
		"NUL":                   {"/a%00b", "", ambiguous},
		"line feed":             {"/a%0ab", "", ambiguous},
		"overlong slash":        {"/a%c0%afb", "", ambiguous},
		"overlong dot":          {"/%c0%ae%c0%ae/", "", ambiguous},
		"not UTF-8":             {"/%ff", "", ambiguous},
		"empty":                 {"", "", malformed},
		"asterisk":              {"*", "", malformed},
		"relative":              {"a/b", "", malformed},
		"absolute URL":          {"https://evil.test/", "", malformed},
		"query":                 {"/a?b", "", malformed},
		"fragment":              {"/a#b", "", malformed},
		"space":                 {"/a b", "", malformed},
		"control":               {"/a\x01", "", malformed},
		"raw 0xff":              {"/\xff", "", malformed},
		"cut escape":            {"/a%2", "", malformed},
		"bad escape":            {"/a%zz", "", malformed},
	} {
		t.Run(name, func(t *testing.T) {
			path, got := readPath(c.raw)
			if got != c.want || c.path != "" && path != c.path {
				t.Fatalf("readPath(%q) = %q, %d; want %q, %d", c.raw, path, got, c.path, c.want)
			}
		})
	}
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		glob     string
		yes, not []string
	}{
		{"*", []string{"/", "/a/b"}, nil},
		{"/", []string{"/"}, []string{"/a"}},
		{"/v1", []string{"/v1"}, []string{"/v1/", "/v11", "/V1", "/"}},
		{"/v1/*", []string{"/v1/a", "/v1/a.b"}, []string{"/v1", "/v1/", "/v1/a/b", "/v1/a/"}},
		{"/v1/**", []string{"/v1/a", "/v1/a/b/c", "/v1/"}, []string{"/v1", "/v2/a", "/v12/a"}},
		{"/**", []string{"/", "/a", "/a/b"}, nil},
		{"/**/x", []string{"/x", "/a/x", "/a/b/x"}, []string{"/xx", "/x/", "/a/x/b"}},
		{"/a/**/b", []string{"/a/b", "/a/x/b", "/a/x/y/b", "/a/b/b"}, []string{"/a/b/c", "/ab", "/a/xb"}},
		{"/a/**/b/**/c", []string{"/a/b/c", "/a/x/b/y/z/c", "/a/b/c/b/c"}, []string{"/a/c/b", "/a/b", "/a/b/x"}},
		{"/a/**/*", []string{"/a/x", "/a/x/y"}, []string{"/a", "/a/"}},
		{"/*/info/refs", []string{"/x/info/refs"}, []string{"/x/y/info/refs", "//info/refs"}},
		{"/a*c", []string{"/ac", "/abc", "/abcc"}, []string{"/ab", "/a/c"}},
		{"/a**c", []string{"/ac", "/abc"}, []string{"/a/c", "/a/b/c"}},
		{"/*a*b*", []string{"/ab", "/xaxbx"}, []string{"/ba", "/a", "/a/b"}},
		{"/a b", []string{"/a b"}, []string{"/a%20b"}},
		{"/repos/*/*.git/**", []string{"/repos/me/x.git/info"}, []string{"/repos/me/x/info", "/repos/x.git/info"}},
	} {
		g, err := compileGlob(c.glob)
		if err != nil {
			t.Fatalf("compileGlob(%q): %v", c.glob, err)
		}
		for _, path := range c.yes {
			if !g.match(path) {
				t.Errorf("%q does not match %q", c.glob, path)
			}
		}
		for _, path := range c.not {
			if g.match(path) {
				t.Errorf("%q matches %q", c.glob, path)
			}
		}
	}
}

func TestGlobRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"empty":           "",
		"no slash":        "v1/**",
		"two stars alone": "**",
		"question mark":   "/v1/?",
		"class":           "/v[12]",
		"brace":           "/{a,b}",
		"escape":          `/a\*`,
		"encoded":         "/a%2Fb",
		"dot dot":         "/a/../b",
		"double slash":    "/a//b",
		"fragment":        "/a#b",
		"too long":        "/" + strings.Repeat("a", maxGlob),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := compileGlob(text); err == nil {
				t.Fatalf("compileGlob(%q) passed", text)
			}
		})
	}
}

// A path of many segments against many stars must not take exponential time.
func TestGlobIsNotExponential(t *testing.T) {
	g, err := compileGlob("/" + strings.Repeat("**/a*a*a*a*a/", 40) + "b")
	if err != nil {
		t.Fatal(err)
	}
	if g.match("/" + strings.Repeat(strings.Repeat("a", 50)+"/", 400) + "c") {
		t.Fatal("matched")
	}
}

func TestJudgingAPlainPathDoesNotAllocate(t *testing.T) {
	l, err := compileList([]Allow{{"GET", "/v1/**/x", ""}, {"POST", "/v1/*/messages", ""}})
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		if !l.judge("POST", "/v1/a/messages", "").Allow {
			t.Fatal("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// asRegexp says the same as a glob in another language.
func asRegexp(text string) *regexp.Regexp {
	segments := strings.Split(text[1:], "/")
	var out strings.Builder
	out.WriteString("^")
	for i, segment := range segments {
		last := i == len(segments)-1
		switch {
		case segment == "**" && last:
			out.WriteString("(/[^/]*)+")
		case segment == "**":
			out.WriteString("(/[^/]*)*")
		case strings.Trim(segment, "*") == "" && segment != "":
			out.WriteString("/[^/]+")
		default:
			out.WriteString("/" + regexp.MustCompile(`(\\\*)+`).ReplaceAllString(regexp.QuoteMeta(segment), "[^/]*"))
		}
	}
	return regexp.MustCompile("(?s)" + out.String() + "$")
}

func FuzzGlob(f *testing.F) {
	f.Add("/v1/**", "/v1/a/b")
	f.Add("/a/**/b/*", "/a/x/b/c")
	f.Add("/**/a*b**c/**/d/", "/x/aabbcc/d/")
	f.Fuzz(func(t *testing.T, text, raw string) {
		g, err := compileGlob(text)
		if err != nil || g.any {
			return
		}
		path, r := readPath(raw)
		if r != plain {
			return
		}
		if got, want := g.match(path), asRegexp(text).MatchString(path); got != want {
			t.Fatalf("%q on %q: %v, the regular expression says %v", text, path, got, want)
		}
	})
}

func FuzzReadPath(f *testing.F) {
	for _, seed := range []string{"/", "/a%2fb", "/a/%2e./b", "/%c0%af", "/a;x/..;y", "*", "/%"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		path, r := readPath(raw)
		if r != plain {
			return
		}
		if path[0] != '/' || strings.Contains(path, "//") || strings.ContainsAny(path, "\\\x00\r\n") {
			t.Fatalf("%q was read as the plain path %q", raw, path)
		}
		for segment := range strings.SplitSeq(path, "/") {
			if name, _, _ := strings.Cut(segment, ";"); name == "." || name == ".." {
				t.Fatalf("%q holds a dot segment", path)
			}
		}
		if again, _ := readPath(path); !strings.ContainsAny(path, "%#? ") && path == strings.ToValidUTF8(path, "") && isASCII(path) && again != path {
			t.Fatalf("decoding %q again gives %q", path, again)
		}
	})
}

func isASCII(text string) bool {
	return !strings.ContainsFunc(text, func(c rune) bool { return c > 0x7e || c < ' ' })
}
