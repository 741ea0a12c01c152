// SPDX-License-Identifier: Apache-2.0

package scrub

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

// The canary and what stands for it.
const (
	canary      = "sk-ant-api03-Xq7/Zp+3Lw9_Ka2-Td5Rm8Vb1Nc4QAA"
	placeholder = "sk-ant-api03-placeholder0123456789abcdefgAAA"
)

func value(t testing.TB, text string) secret.Value {
	t.Helper()
	v, err := secret.New([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Wipe)
	return v
}

// scrubber makes one of pairs of real value and placeholder.
func scrubber(t testing.TB, pairs ...[2]string) *Scrubber {
	t.Helper()
	var list []Pair
	for _, p := range pairs {
		list = append(list, Pair{value(t, p[0]), p[1]})
	}
	s, err := New(list)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Wipe)
	return s
}

// encodings are ways in which a server may write a text it knows.
func encodings() map[string]func(string) string {
	each := func(f func(c byte) string) func(string) string {
		return func(text string) string {
			var b strings.Builder
			for _, c := range []byte(text) {
				b.WriteString(f(c))
			}
			return b.String()
		}
	}
	all := map[string]func(string) string{
		"raw":       func(s string) string { return s },
		"hex":       func(s string) string { return hex.EncodeToString([]byte(s)) },
		"hex upper": func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) },
		"query":     url.QueryEscape,
		"path":      url.PathEscape,
		"percent":   each(func(c byte) string { return "%" + hexUpper[c>>4:c>>4+1] + hexUpper[c&15:c&15+1] }),
		"percent lower": each(func(c byte) string {
			return "%" + hexLower[c>>4:c>>4+1] + hexLower[c&15:c&15+1]
		}),
		"percent twice": func(s string) string { return url.QueryEscape(url.QueryEscape(s)) },
		"json": each(func(c byte) string {
			return `\u00` + hexLower[c>>4:c>>4+1] + hexLower[c&15:c&15+1]
		}),
		"json in json": func(s string) string {
			text, _ := json.Marshal(strings.ReplaceAll(s, "+", `\u002b`))
			return string(text)
		},
		"entities": each(func(c byte) string { return "&#" + decimal(c) + ";" }),
		"html":     html.EscapeString,
		"wrapped 76": func(s string) string {
			return wrapAt(base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", 40)+s)), 76, "\r\n")
		},
		"wrapped 64": func(s string) string {
			return wrapAt(base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", 40)+s+"yy")), 64, "\n")
		},
		"pem in json": func(s string) string {
			return wrapAt(base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", 40)+s+"yy")), 64, `\n`)
		},
		"yaml block": func(s string) string {
			return wrapAt(base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", 40)+s+"yy")), 64, "\n    ")
		},
	}
	for name, enc := range map[string]*base64.Encoding{
		"base64": base64.StdEncoding, "base64 raw": base64.RawStdEncoding,
		"base64url": base64.URLEncoding, "base64url raw": base64.RawURLEncoding,
	} {
		for _, before := range []string{"", "a", "ab", "abc", "user:", "x-access-token:"} {
			for _, after := range []string{"", "z", "zz", ":x-oauth-basic"} {
				all[name+" "+before+"|"+after] = func(s string) string { return enc.EncodeToString([]byte(before + s + after)) }
			}
		}
	}
	return all
}

func wrapAt(text string, width int, end string) string {
	var b strings.Builder
	for len(text) > width {
		b.WriteString(text[:width] + end)
		text = text[width:]
	}
	return b.String() + text
}

// TestL4EveryEncoding is L1 and L4: where a server wrote the real value, the
// agent reads what the server would have written of the placeholder.
func TestL4EveryEncoding(t *testing.T) {
	s := scrubber(t, [2]string{canary, placeholder})
	for name, encode := range encodings() {
		t.Run(name, func(t *testing.T) {
			body, want := "head "+encode(canary)+"\ntail", "head "+encode(placeholder)+"\ntail"
			got := string(s.Bytes(nil, []byte(body)))
			if len(got) != len(body) {
				t.Errorf("%d bytes became %d", len(body), len(got))
			}
			// The canary has characters that some encodings write wider than
			// those of the placeholder.
			if len(body) == len(want) && got != want {
				t.Errorf("got  %q\nwant %q", got, want)
			}
			if decoded := undo(got); len(body) != len(want) && !strings.Contains(decoded, placeholder) {
				t.Errorf("got %q, which decodes to %q", got, decoded)
			}
		})
	}
}

var unicodeEscape = regexp.MustCompile(`\\+u00([0-9a-fA-F]{2})`)

// undo undoes escapes, level by level.
func undo(text string) string {
	for range 3 {
		if plain, err := url.PathUnescape(text); err == nil {
			text = plain
		}
		text = unicodeEscape.ReplaceAllStringFunc(text, func(e string) string {
			c, _ := hex.DecodeString(e[len(e)-2:])
			return string(c)
		})
		text = html.UnescapeString(text)
	}
	return text
}

// TestBasicBlobOfAnyUser is L4's blob: the three alignments inside a longer
// base64 text are all that a blob can be.
func TestBasicBlobOfAnyUser(t *testing.T) {
	s := scrubber(t, [2]string{canary, placeholder})
	for n := range 40 {
		for _, c := range []byte{'a', '~', 0xff} {
			user := strings.Repeat(string([]byte{c}), n)
			blob := base64.StdEncoding.EncodeToString([]byte(user + ":" + canary))
			plain, err := base64.StdEncoding.DecodeString(string(s.Bytes(nil, []byte(blob))))
			if err != nil || string(plain) != user+":"+placeholder {
				t.Errorf("user %q: %q, %v", user, plain, err)
			}
		}
	}
}

// TestL2SplitAtEveryByte is L2.
func TestL2SplitAtEveryByte(t *testing.T) {
	s := scrubber(t, [2]string{canary, placeholder})
	for name, encode := range encodings() {
		body := "a" + encode(canary) + "%4z" + encode(canary)
		whole := string(s.Bytes(nil, []byte(body)))
		for i := range body {
			w := openWindow()
			for _, part := range []string{body[:i], body[i:]} {
				w.fill(s, strings.NewReader(part), windowSize)
			}
			w.scan(s, true)
			if got := string(w.buf[:w.ready]); got != whole {
				t.Errorf("%s, at %d: %q, want %q", name, i, got, whole)
			}
			w.close()
		}
	}
}

func TestPlaceholderPassesUnchanged(t *testing.T) {
	s := scrubber(t, [2]string{canary, placeholder})
	for name, encode := range encodings() {
		if body := encode(placeholder); string(s.Bytes(nil, []byte(body))) != body {
			t.Errorf("%s changed", name)
		}
	}
}

func TestLongestOfOverlappingCredentials(t *testing.T) {
	long, short := canary+"-and-more", canary
	pairs := [][2]string{{short, strings.Repeat("s", len(short))}, {long, strings.Repeat("l", len(long))}}
	checkLongest(t, scrubber(t, pairs[0], pairs[1]), long, short)
	checkLongest(t, scrubber(t, pairs[1], pairs[0]), long, short)
}

func checkLongest(t *testing.T, s *Scrubber, long, short string) {
	t.Helper()
	for body, want := range map[string]string{
		long:                 strings.Repeat("l", len(long)),
		short:                strings.Repeat("s", len(short)),
		long[:len(long)-1]:   strings.Repeat("s", len(short)) + "-and-mor",
		short + long:         strings.Repeat("s", len(short)) + strings.Repeat("l", len(long)),
		canary[:20] + canary: canary[:20] + strings.Repeat("s", len(short)),
	} {
		if got := string(s.Bytes(nil, []byte(body))); got != want {
			t.Errorf("%q became %q", body, got)
		}
	}
}

// TestPercentSignThatIsOne: of two, one is an escape.
func TestPercentSignThatIsOne(t *testing.T) {
	s := scrubber(t, [2]string{"p/%4zabcdefghijklmn", "0123456789abcdefghi"})
	for _, body := range []string{"p%2F%4zabcdefghijklmn", "p%2f%254zabcdefghijklmn", "p/%4zabcdefghijklmn"} {
		whole := string(s.Bytes(nil, []byte(body)))
		cut, err := io.ReadAll(s.Reader(iotest.OneByteReader(strings.NewReader(body))))
		if err != nil || string(cut) != whole || undo(whole) != "0123456789abcdefghi" {
			t.Errorf("%q: %q and %q, %v", body, whole, cut, err)
		}
	}
}

// TestCredentialWithEscapeCharacters: what looks like an escape may be meant.
func TestCredentialWithEscapeCharacters(t *testing.T) {
	real, fake := `p%41\u0042&amp;"q%25/&#65;\\x`, "0123456789abcdefghijklmnopqrs"
	s := scrubber(t, [2]string{real, fake})
	quoted, _ := json.Marshal(real)
	for name, body := range map[string]string{
		"raw": real, "query": url.QueryEscape(real), "path": url.PathEscape(real),
		"json": strings.Trim(string(quoted), `"`), "html": html.EscapeString(real),
		"base64": base64.StdEncoding.EncodeToString([]byte("u:" + real)),
	} {
		got := string(s.Bytes(nil, []byte(body)))
		plain, _ := base64.StdEncoding.DecodeString(got)
		cut, err := io.ReadAll(iotest.OneByteReader(s.Reader(iotest.OneByteReader(strings.NewReader(body)))))
		if !strings.Contains(undo(got)+string(plain), fake) || len(got) != len(body) || string(cut) != got || err != nil {
			t.Errorf("%s: %q became %q", name, body, got)
		}
	}
}

func TestPlaceholderOfAnotherLength(t *testing.T) {
	for fake, want := range map[string]string{
		"OPENAI_API_KEY":         "OPENAI_API_KEY" + strings.Repeat("*", len(canary)-14),
		strings.Repeat("w", 100): strings.Repeat("w", len(canary)),
	} {
		s := scrubber(t, [2]string{canary, fake})
		if got := string(s.Bytes(nil, []byte(canary))); got != want {
			t.Errorf("got %q", got)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	if _, err := New([]Pair{{value(t, "fifteen-letters"), "x"}}); !errors.Is(err, secret.ErrShort) {
		t.Error(err)
	}
	for _, fake := range []string{"", canary, "x" + canary} {
		if _, err := New([]Pair{{value(t, canary), fake}}); err == nil {
			t.Errorf("placeholder %q", fake)
		}
	}
	if s, err := New(nil); err != nil || string(s.Bytes(nil, []byte(canary))) != canary {
		t.Error(err)
	}
}

// TestHeader is L1 in headers: cookies, Location, trailers, names.
func TestHeader(t *testing.T) {
	s := scrubber(t, [2]string{canary, placeholder})
	basic := func(v string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte("me:"+v)) }
	of := func(v string) http.Header {
		return http.Header{
			"Set-Cookie": {"a=1", "session=" + v + "; Path=/"}, "Location": {"https://x.test/?key=" + url.QueryEscape(v)},
			"X-Echo": {basic(v)}, "Grpc-Status-Details-Bin": {base64.RawStdEncoding.EncodeToString([]byte("\x08\x10" + v))},
			"Content-Type": {"text/plain"}, "Content-Security-Policy": {"default-src 'self'"},
		}
	}
	header, want := of(canary), of(placeholder)
	header[http.CanonicalHeaderKey("x-"+strings.Map(headerSafe, canary))] = []string{"1"}
	secretName := scrubber(t, [2]string{strings.Map(headerSafe, canary), placeholder})
	secretName.Header(header)
	s.Header(header)
	if len(header) != len(want) {
		t.Errorf("fields: %q", header)
	}
	for name, values := range want {
		for i, v := range values {
			// Escapes of / and + are wider than what stands for them.
			if got := header[name][i]; got != v && !strings.Contains(undo(got), placeholder) {
				t.Errorf("%s: %q, want %q", name, got, v)
			}
		}
	}
}

func headerSafe(r rune) rune {
	if strings.ContainsRune("/+_", r) {
		return '.'
	}
	return r
}

func TestCodingsAskedFor(t *testing.T) {
	header := http.Header{"Accept-Encoding": {"gzip, dcz;q=0.5, br;q=0.1", "compress, ZSTD"}, "Grpc-Accept-Encoding": {"gzip"}, "Available-Dictionary": {":x:"}}
	Requested(header, nil)
	if got := header.Get("Accept-Encoding"); got != "gzip, br;q=0.1, ZSTD" || len(header) != 1 {
		t.Errorf("%q", header)
	}
}
