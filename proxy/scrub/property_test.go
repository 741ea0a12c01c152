// SPDX-License-Identifier: Apache-2.0

package scrub

import (
	"encoding/base64"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
)

// The credentials of the property tests: the shortest length, one that is the
// beginning of another, and one with base64's own characters.
var propertyPairs = [][2]string{
	{"sk-a1B2c3D4e5F6g", "sk-Q9w8E7r6T5y4u"},
	{"sk-a1B2c3D4e5F6gH7i8J", "sk-ZzYyXxWwVvUuTtSsRr"},
	{"/+aa/bb+cc/dd+ee/", "mnbvcxzlkjhgfdsaq"},
}

// fragments are what random bodies are made of.
func fragments(pairs [][2]string) (all []string) {
	for _, p := range pairs {
		secret := p[0]
		all = append(all, secret, p[1], secret[:len(secret)/2], secret[len(secret)/2:], secret[1:], secret[:len(secret)-1],
			hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte(secret))))
		for _, user := range []string{"", "u:", "me:", "x-1:"} {
			blob := base64.StdEncoding.EncodeToString([]byte(user + secret + user))
			all = append(all, blob, base64.RawURLEncoding.EncodeToString([]byte(user+secret)),
				blob[:9]+"\r\n"+blob[9:], blob[:9]+"\r"+blob[9:], blob[:len(blob)-6], blob[:7]+"\\n"+blob[7:], blob[:2]+"\n \t"+blob[2:], blob[3:])
		}
	}
	return append(all, "%", "%2", "%25", "\\", "\\u", "\\u00", "&", "&#", "&#x0", ";", "\n", "\r\n", " ", "=", "\"", "a", "/", "0")
}

// body expands seed: a high byte is a fragment, another one itself. Every
// character may be escaped by the way.
func expand(seed []byte, all []string) string {
	var b strings.Builder
	for i, c := range seed {
		switch {
		case c < 0x60:
			b.WriteByte(c)
		case i > 0 && seed[i-1]%3 == 0:
			b.WriteString(escaped(all[int(c)%len(all)], uint64(seed[i-1])))
		default:
			b.WriteString(all[int(c-0x60)%len(all)])
		}
	}
	return b.String()
}

// escaped writes some characters of text in other ways.
func escaped(text string, seed uint64) string {
	random := rand.New(rand.NewPCG(seed, uint64(len(text))))
	one := random.IntN(3) // often, seldom, one kind alone
	var b strings.Builder
	for _, c := range []byte(text) {
		ways := spelled[c]
		switch {
		case one == 2:
			b.WriteString(ways[min(int(seed)%8, len(ways)-1)])
		case random.IntN(1+7*one) == 0:
			b.WriteString(ways[random.IntN(len(ways))])
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// cutReader returns its text in pieces of random sizes.
type cutReader struct {
	text   string
	random *rand.Rand
}

func (r *cutReader) Read(p []byte) (int, error) {
	if r.text == "" {
		return 0, io.EOF
	}
	n := copy(p, r.text[:min(len(r.text), 1+r.random.IntN(20))])
	r.text = r.text[n:]
	return n, nil
}

// check holds the scrubber against the reference, whole and cut. Half of the seeds
// find it wary, the others not yet.
func check(t *testing.T, s *Scrubber, r reference, body string, seed uint64) {
	t.Helper()
	whole := string(s.Bytes(nil, []byte(body)))
	if wrong := r.explain(body, whole); wrong != "" {
		t.Fatalf("%q: %s", body, wrong)
	}
	setWary(s, seed%2 == 1)
	cut := &cutReader{body, rand.New(rand.NewPCG(seed, 5))}
	got, err := io.ReadAll(iotest.OneByteReader(s.Reader(cut)))
	if err != nil || string(got) != whole {
		t.Fatalf("%q in pieces: %q, %v; whole: %q", body, got, err, whole)
	}
	_, held := r.spans(body)
	buf := []byte(body)
	if done := s.scan(buf, false); len(body)-done != held {
		t.Fatalf("%q: %d bytes held back, want %d", body, len(body)-done, held)
	}
}

// TestScrubbedStreamIsScrubbedWhole: for random bodies, splits and encodings.
func TestScrubbedStreamIsScrubbedWhole(t *testing.T) {
	s, r, all := scrubber(t, propertyPairs...), newReference(propertyPairs...), fragments(propertyPairs)
	for seed := range uint64(600) {
		random := rand.New(rand.NewPCG(seed, 11))
		seedBytes := make([]byte, 1+random.IntN(24))
		for i := range seedBytes {
			seedBytes[i] = byte(random.Uint32())
		}
		check(t, s, r, expand(seedBytes, all), seed)
	}
}

// TestOneEscapeAnywhere: each character in each spelling, at every distance to
// where the search looks, before and behind text that no pattern has.
func TestOneEscapeAnywhere(t *testing.T) {
	s, r := scrubber(t, propertyPairs...), newReference(propertyPairs...)
	for _, pair := range propertyPairs {
		for i, c := range []byte(pair[0]) {
			for k, spelling := range spelled[c] {
				body := strings.Repeat("!", k%stride) + pair[0][:i] + spelling + pair[0][i+1:] + "!"
				if got := string(s.Bytes(nil, []byte(body))); got == body || k%16 == 0 && r.explain(body, got) != "" {
					t.Fatalf("%q became %q", body, got)
				}
			}
			for before := range stride {
				body := strings.Repeat("!", before) + pair[0][:i] + spelled[c][1] + pair[0][i+1:] + "!"
				if got := string(s.Bytes(nil, []byte(body))); got == body {
					t.Fatalf("%q stayed", body)
				}
			}
		}
	}
}

// TestBeginningOfAnEscape: of each spelling, and what is one too many of it.
func TestBeginningOfAnEscape(t *testing.T) {
	s, r := scrubber(t, propertyPairs...), newReference(propertyPairs...)
	for _, c := range []byte("s/k9") {
		for _, spelling := range spelled[c] {
			for n := range len(spelling) {
				for _, body := range []string{spelling[:n], `\` + spelling[:n], "sk-a" + spelling[:n], strings.Replace(spelling[:n], "#", "#0", 1), strings.Replace(spelling[:n], "x0", "x000", 1)} {
					_, held := r.spans(body)
					if done := s.scan([]byte(body), false); done != len(body)-held {
						t.Fatalf("%q: %d bytes held back, want %d", body, len(body)-done, held)
					}
				}
			}
		}
	}
	for _, body := range []string{`\\\\\\\\u0073`, "&#00000115;", "&#x00000073;", "%25252573"} {
		if body += propertyPairs[0][0][1:] + "!"; r.explain(body, string(s.Bytes(nil, []byte(body)))) != "" {
			t.Errorf("%q became %q", body, s.Bytes(nil, []byte(body)))
		}
	}
}

// TestLineBreakAnywhere: behind each digit, at every distance to where the
// search looks.
func TestLineBreakAnywhere(t *testing.T) {
	s := scrubber(t, propertyPairs...)
	for _, user := range []string{"", "a", "ab"} {
		blob := base64.StdEncoding.EncodeToString([]byte(user + propertyPairs[0][0]))
		for i := 3; i < len(blob)-4; i++ {
			for before := range stride {
				for _, end := range []string{"\n", "\r\n", "\\r\\n", "\n        "} {
					body := strings.Repeat("!", before) + blob[:i] + end + blob[i:] + "!"
					want := strings.Repeat("!", before) + base64.StdEncoding.EncodeToString([]byte(user+propertyPairs[0][1])) + "!"
					if got := strings.Replace(string(s.Bytes(nil, []byte(body))), end, "", 1); got != want {
						t.Fatalf("%q became %q", body, got)
					}
				}
			}
		}
	}
}

// TestBeginningAtEveryPlace: of every length, at every distance to where the
// search looks.
func TestBeginningAtEveryPlace(t *testing.T) {
	pair := [2]string{canary, placeholder}
	s, r := scrubber(t, pair), newReference(pair)
	blob := base64.StdEncoding.EncodeToString([]byte("u:" + canary))
	for _, whole := range []string{canary, hex.EncodeToString([]byte(canary)), blob, blob[2:20] + "\r\n        " + blob[20:]} {
		for n := range 30 {
			for before := range 32 {
				body := strings.Repeat("!", before) + whole[:n]
				_, held := r.spans(body)
				if done := s.scan([]byte(body), false); done != len(body)-held {
					t.Fatalf("%q: %d bytes held back, want %d", body, len(body)-done, held)
				}
			}
		}
		for n := range len(whole) {
			if wrong := r.explain(whole[:n]+"!", string(s.Bytes(nil, []byte(whole[:n]+"!")))); wrong != "" {
				t.Fatalf("%q cut to %d: %s", whole, n, wrong)
			}
		}
	}
}

func FuzzScrub(f *testing.F) {
	s, r, all := scrubber(f, propertyPairs...), newReference(propertyPairs...), fragments(propertyPairs)
	for i := range byte(160) {
		f.Add([]byte{i, 0x60 + i, ' ', i, 0x90 + i}, uint64(i))
	}
	f.Fuzz(func(t *testing.T, seed []byte, cuts uint64) {
		if len(seed) <= 40 {
			check(t, s, r, expand(seed, all), cuts)
		}
	})
}
