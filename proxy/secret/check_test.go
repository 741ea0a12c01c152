// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"errors"
	"strings"
	"testing"
)

func TestC7CheckRefusesByName(t *testing.T) {
	good := "sk-0123456789abcdef"
	for name, c := range map[string]struct {
		value string
		want  error
	}{
		"empty":             {"", ErrEmpty},
		"lf inside":         {"sk-01234567\n89abcdef", ErrNewline},
		"cr inside":         {"sk-01234567\r89abcdef", ErrNewline},
		"header injection":  {good + "\r\nX-Other: 1", ErrNewline},
		"lf at the end":     {good + "\n", ErrNewline},
		"only a line":       {"\n", ErrNewline},
		"nul":               {good + "\x00", ErrNUL},
		"tab":               {"sk-0123\t456789abcdef", ErrControl},
		"escape":            {"sk-\x1b[31m0123456789abcdef", ErrControl},
		"del":               {good + "\x7f", ErrControl},
		"c1":                {good + "\u0085", ErrControl},
		"latin-1":           {good + "\xe9", ErrEncoding},
		"leading space":     {" " + good, ErrSpace},
		"trailing space":    {good + " ", ErrSpace},
		"one byte short":    {strings.Repeat("a", MinLength-1), ErrShort},
		"one byte long":     {strings.Repeat("a", MaxLength+1), ErrLong},
		"shortest":          {strings.Repeat("a", MinLength), nil},
		"longest":           {strings.Repeat("a", MaxLength), nil},
		"passphrase":        {"correct horse battery staple", nil},
		"not only american": {"pässwörter-sind-länger", nil},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := New([]byte(c.value))
			if err != nil {
				t.Fatal(err)
			}
			defer v.Wipe()
			if err := Check(v); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

func TestC7OneTrailingNewlineIsTrimmed(t *testing.T) {
	for in, want := range map[string]string{
		"key": "key", "key\n": "key", "key\r\n": "key", "key\n\n": "key\n", "key\r": "key\r",
		"\n": "", "\r\n": "", "": "", "key \n": "key ",
	} {
		v, err := New([]byte(in))
		if err != nil {
			t.Fatal(err)
		}
		v.trimNewline()
		if got := string(v.Reveal()); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
		v.Wipe()
	}
}

func TestReadTrimsAndChecks(t *testing.T) {
	c := newCanary(t)
	for text, want := range map[string]error{
		string(c): nil, string(c) + "\n": nil, string(c) + "\r\n": nil, string(c) + "\n\n": ErrNewline, "": ErrEmpty, "\n": ErrEmpty,
		strings.Repeat("a", MaxLength) + "\r\n": nil, strings.Repeat("a", MaxLength+1): ErrLong, strings.Repeat("a", MaxLength+3): ErrLong,
	} {
		v, err := Read(strings.NewReader(text))
		if !errors.Is(err, want) || (err == nil) == (v.Len() == 0) {
			t.Errorf("%d bytes: %d, %v, want %v", len(text), v.Len(), err, want)
		}
		v.Wipe()
	}
}

func TestJSONIsCompacted(t *testing.T) {
	for text, want := range map[string]string{
		"{\n  \"a b\": \"c \\\" \\\\\",\r\n\t\"d\": [1, 2]\n}\n": `{"a b":"c \" \\","d":[1,2]}`,
		"{ \"broken\n":                 "{ \"broken",
		"plain text with spaces in it": "plain text with spaces in it",
	} {
		v, err := New([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if v.tidy(); string(v.Reveal()) != want {
			t.Errorf("%q becomes %q", text, v.Reveal())
		}
		v.Wipe()
	}
}
