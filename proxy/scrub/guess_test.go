// SPDX-License-Identifier: Apache-2.0

package scrub

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// public is what canary and placeholder have in common.
const public = len("sk-ant-api03-")

func setWary(s *Scrubber, wary bool) {
	s.guesses.open.Store(0)
	s.guesses.wary.Store(wary)
}

// TestL11GuessesAreCounted: what is held back far behind the public beginning, in
// any encoding, from when it is held until it is the credential after all.
func TestL11GuessesAreCounted(t *testing.T) {
	guess := canary[:public+deep]
	hexed, based := hex.EncodeToString([]byte(canary)), base64.StdEncoding.EncodeToString([]byte("u:"+canary))
	for name, c := range map[string]struct {
		pieces []string
		end    error
		want   int32
	}{
		"text":                  {[]string{"She asks, ", "as usual"}, io.EOF, 0},
		"the public beginning":  {[]string{canary[:public], "!"}, io.EOF, 0},
		"one character less":    {[]string{guess[:len(guess)-1], "!"}, io.EOF, 0},
		"wrong":                 {[]string{guess[:len(guess)-1] + "!", "!"}, io.EOF, 0},
		"right":                 {[]string{guess, "!"}, io.EOF, 1},
		"letter by letter":      {strings.Split(guess+"!", ""), io.EOF, 1},
		"twice":                 {[]string{guess, "!" + guess, "!"}, io.EOF, 2},
		"at the end":            {[]string{guess}, io.EOF, 1},
		"cut off":               {[]string{guess}, errors.New("connection lost"), 1},
		"a word before":         {[]string{"My " + guess, "!"}, io.EOF, 1},
		"the credential":        {[]string{guess, canary[len(guess):]}, io.EOF, 0},
		"and once more":         {[]string{guess, canary[len(guess):] + guess, "!"}, io.EOF, 1},
		"not it but behind it":  {[]string{guess, "!" + canary}, io.EOF, 1},
		"hexadecimal":           {[]string{hexed[:2*public+1+deep], "!"}, io.EOF, 1},
		"hexadecimal, shorter":  {[]string{hexed[:2*public], "!"}, io.EOF, 0},
		"base64":                {[]string{based[:(2+public)*8/6+deep], "!"}, io.EOF, 1},
		"base64, wrapped":       {[]string{based[:9] + "\n  " + based[9:(2+public)*8/6+deep], "!"}, io.EOF, 1},
		"base64, shorter":       {[]string{based[:(2+public)*8/6], "!"}, io.EOF, 0},
		"escaped":               {[]string{`\u0073` + guess[1:], "!"}, io.EOF, 1},
		"an escape begun":       {[]string{canary[:public] + `\\\\u00`, "!"}, io.EOF, 0},
		"nothing but an escape": {[]string{`\\\\u00`, "!"}, io.EOF, 0},
		"an escape that tells":  {[]string{canary[:public+deep-1] + fmt.Sprintf("&#%d", canary[public+deep-1]), "!"}, io.EOF, 1},
	} {
		s := scrubber(t, [2]string{canary, placeholder})
		io.Copy(io.Discard, s.Reader(&script{c.pieces, c.end}))
		if got := s.guesses.open.Load(); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// TestL11GuessesKeptWaiting: a right guess counts before anybody knows what becomes
// of it, or each could be kept waiting for the next.
func TestL11GuessesKeptWaiting(t *testing.T) {
	s := scrubber(t, [2]string{canary, placeholder})
	for i := range int32(maxGuesses) {
		asked := make(chan struct{})
		src := io.MultiReader(strings.NewReader(canary[:public+deep]), readFunc(func([]byte) (int, error) {
			close(asked)
			<-t.Context().Done()
			return 0, io.EOF
		}))
		go io.Copy(io.Discard, s.Reader(src))
		<-asked
		if open := s.guesses.open.Load(); open != i+1 {
			t.Errorf("%d counted while %d wait", open, i+1)
		}
	}
	if !s.guesses.wary.Load() {
		t.Error("not wary")
	}
}

// TestL11GuessesAreNotTakenBack: an agent that has the values captured which answers
// are then searched for completes one of them, and not the credential.
func TestL11GuessesAreNotTakenBack(t *testing.T) {
	const rest = "-and-so-it-goes-on"
	guess := canary[:public+deep]
	t.Run("taught before", func(t *testing.T) {
		s := scrubber(t, [2]string{canary, placeholder}, [2]string{guess[:len(guess)-1], placeholder})
		io.Copy(io.Discard, s.Reader(&script{[]string{guess, "!"}, io.EOF}))
		if open := s.guesses.open.Load(); open != 1 {
			t.Errorf("%d guesses, want 1", open)
		}
	})
	t.Run("taught while it waits", func(t *testing.T) {
		s := scrubber(t, [2]string{canary, placeholder})
		r := s.Reader(io.MultiReader(strings.NewReader(guess), readFunc(func(p []byte) (int, error) {
			if err := s.Add([]Pair{{value(t, guess+rest), placeholder}}); err != nil {
				t.Error(err)
			}
			return copy(p, rest), io.EOF
		})))
		if got, err := io.ReadAll(r); err != nil || string(got) != placeholder[:len(guess+rest)] {
			t.Fatalf("%q, %v: what was captured is not found", got, err)
		}
		if open := s.guesses.open.Load(); open != 1 {
			t.Errorf("%d guesses, want 1", open)
		}
	})
}

// TestL11GuessesInFrames: between the fragments of a message, and inside one; not
// at a message's end, where nothing is held back.
func TestL11GuessesInFrames(t *testing.T) {
	guess := canary[:public+deep]
	for name, c := range map[string]struct {
		pieces []string
		want   int32
	}{
		"a fragment":  {[]string{"\x01\x13" + guess, "\x80\x01!"}, 1},
		"in a frame":  {[]string{"\x81\x14" + guess, "!"}, 1},
		"a message":   {[]string{"\x81\x13" + guess, "\x81\x01!"}, 0},
		"credentials": {[]string{"\x01\x13" + guess, "\x80" + string(rune(len(canary)-len(guess))) + canary[len(guess):]}, 0},
	} {
		s := scrubber(t, [2]string{canary, placeholder})
		if _, err := io.Copy(io.Discard, s.Frames(&script{c.pieces, io.EOF})); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := s.guesses.open.Load(); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// TestL11ToldOnce: by a session's own streams, and for it alone.
func TestL11ToldOnce(t *testing.T) {
	told := 0
	parent := scrubber(t, [2]string{canary, placeholder})
	s := parent.Child(func() { told++ })
	for i := range 3 * maxGuesses {
		if s.guesses.wary.Load() != (i >= maxGuesses) {
			t.Errorf("after %d guesses: wary %v", i, s.guesses.wary.Load())
		}
		io.Copy(io.Discard, s.Reader(&script{[]string{canary[:public+deep], "!"}, io.EOF}))
	}
	if told != 1 || parent.guesses.open.Load() != 0 {
		t.Errorf("told %d times, %d guesses of the parent's", told, parent.guesses.open.Load())
	}
}

// traced returns how much each Read of src found to be given away of it.
func traced(t *testing.T, s *Scrubber, pieces []string) (given []int) {
	t.Helper()
	src, total := &script{slices.Clone(pieces), io.EOF}, 0
	r := s.Reader(readFunc(func(p []byte) (int, error) {
		given = append(given, total)
		return src.Read(p)
	}))
	for buf := make([]byte, 512); ; {
		n, err := r.Read(buf)
		if total += n; err == io.EOF {
			return given
		}
	}
}

type readFunc func(p []byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// TestL11WaryStreamsTellNothing: of two sessions that hold different credentials
// the streams are held back alike, whatever is in them, but for a whole one.
func TestL11WaryStreamsTellNothing(t *testing.T) {
	var others [][2]string
	for _, p := range propertyPairs {
		real := []byte(p[0]) // other characters could be told apart
		slices.Reverse(real)
		others = append(others, [2]string{string(real), p[1]})
	}
	s, other, all := scrubber(t, propertyPairs...), scrubber(t, others...), fragments(propertyPairs)
	compared, told := 0, 0
	for seed := range uint64(3000) {
		random := rand.New(rand.NewPCG(seed, 13))
		seedBytes := make([]byte, 1+random.IntN(8))
		for i := range seedBytes {
			seedBytes[i] = byte(random.Uint32())
		}
		body := expand(seedBytes, all)
		if string(s.Bytes(nil, []byte(body))) != body {
			continue
		}
		compared++
		var pieces []string
		for rest := body; rest != ""; {
			n := 1 + random.IntN(min(20, len(rest)))
			pieces, rest = append(pieces, rest[:n]), rest[n:]
		}
		for _, wary := range []bool{false, true} {
			setWary(s, wary)
			setWary(other, wary)
			got, want := traced(t, s, pieces), traced(t, other, pieces)
			if same := slices.Equal(got, want); wary && !same {
				t.Fatalf("%q: %v given away, and %v where the credentials are others", pieces, got, want)
			} else if !same {
				told++
			}
		}
	}
	if compared < 500 || told < 50 {
		t.Errorf("%d streams compared, %d told something before", compared, told)
	}
}

// TestL11WariestForm: what is held back reaches as far back as the longest form of
// a credential: base64, with an indented line break behind each digit, all escaped.
func TestL11WariestForm(t *testing.T) {
	var form strings.Builder
	for _, c := range base64.StdEncoding.EncodeToString([]byte(canary)) {
		for _, c := range string(c) + "\r\n" + strings.Repeat(" ", maxIndent) {
			fmt.Fprintf(&form, `\\\\\\\u%04x`, c)
		}
	}
	s := scrubber(t, [2]string{canary, placeholder})
	if got := s.Bytes(nil, []byte(form.String())); string(got) == form.String() {
		t.Fatal("it is no form")
	}
	if from := s.table().tail([]byte(form.String()), 0, 0); from != 0 {
		t.Errorf("the first %d bytes are given away", from)
	}
}

// TestWaryTailGoesOn: from where it was, to where it would be found at once.
func TestWaryTailGoesOn(t *testing.T) {
	f := &scrubber(t, [2]string{canary, placeholder}).table().filter
	random := rand.New(rand.NewPCG(11, 1))
	for range 200 {
		text := make([]byte, 3*f.longest)
		for i := range text {
			text[i] = "aaaaaaaa\r\n \n\n"[random.IntN(13)]
			if random.IntN(f.longest) < 2 {
				text[i] = '!'
			}
		}
		from, seen := 0, 0
		for seen < len(text) {
			end := min(seen+1+random.IntN(f.longest), len(text))
			from, seen = f.tail(text[:end], from, seen), end
			if want := f.tail(text[:end], 0, 0); from != want {
				t.Fatalf("%q: %d, want %d", text[:end], from, want)
			}
		}
	}
}

// TestWaryStreamsGoOn: what ends where no credential can go on leaves at once.
func TestWaryStreamsGoOn(t *testing.T) {
	s := scrubber(t, [2]string{canary, placeholder})
	setWary(s, true)
	src, buf := &script{err: io.EOF}, make([]byte, 256)
	r := s.Reader(src)
	for i, step := range [][2]string{
		{"data: {\"delta\":\"Hello\"}\n\n", "data: {\"delta\":\"Hello\"}\n\n"},
		{"data: Hello\r\n\r\n", "data: Hello\r\n\r\n"},
		{"{\"delta\": \"Hello\"}\n", "{\"delta\": \"Hello\"}\n"},
		{"Hello, ", "Hello, "},
		{"it: " + canary[:4], "it: "},
		{"!", canary[:4] + "!"},
	} {
		src.pieces = []string{step[0]}
		if n, err := r.Read(buf); err != nil || string(buf[:n]) != step[1] {
			t.Fatalf("step %d: %q, %v", i, buf[:n], err)
		}
	}
	src.pieces = []string{"key=" + canary[:20]}
	if got, err := io.ReadAll(iotest.OneByteReader(r)); string(got) != "key="+canary[:20] || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	longest := s.table().longest
	given := traced(t, s, []string{strings.Repeat("a", 2*longest)})
	if last := given[len(given)-1]; last != longest {
		t.Errorf("of %d bytes without an end %d are given away", 2*longest, last)
	}
}
