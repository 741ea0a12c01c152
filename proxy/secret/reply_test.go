// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestReplyRoundTrip(t *testing.T) {
	c := newCanary(t)
	in := Entry{c.value(t), []string{"api.openai.com", "*.openai.com"}, "openai", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	var wire bytes.Buffer
	if err := writeReply(&wire, in, nil); err != nil {
		t.Fatal(err)
	}
	out, err := ReadReply(iotest.OneByteReader(&wire))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Value.Wipe()
	c.same(t, out.Value)
	if !reflect.DeepEqual(in.Hosts, out.Hosts) || in.Provider != out.Provider || !in.Created.Equal(out.Created) {
		t.Errorf("%+v", out)
	}
}

func TestReplyRefusalIsOneLine(t *testing.T) {
	var wire bytes.Buffer
	if err := writeReply(&wire, Entry{}, errors.New("a\nb\x1b[31m"+strings.Repeat("x", 5000))); err != nil {
		t.Fatal(err)
	}
	_, err := ReadReply(&wire)
	var refusal *Refusal
	if !errors.As(err, &refusal) || strings.ContainsAny(refusal.Text, "\n\x1b") || len(refusal.Text) > maxRefusal+8 {
		t.Errorf("%q", err)
	}
}

func TestReadReplyRefuses(t *testing.T) {
	key := string(newCanary(t))
	n := len(key)
	many := strings.Repeat(`"a",`, MaxHosts) + `"a"`
	for name, wire := range map[string]string{
		"nothing":            "",
		"no line":            `{"ok":true,"length":5}`,
		"not json":           "hello\n",
		"array":              "[]\n",
		"unknown key":        fmt.Sprintf(`{"ok":true,"length":%d,"value":"x"}`+"\n%s", n, key),
		"two values":         fmt.Sprintf(`{"ok":true,"length":%d}{}`+"\n%s", n, key),
		"cut body":           fmt.Sprintf(`{"ok":true,"length":%d}`+"\n%s", n+1, key),
		"bytes left over":    fmt.Sprintf(`{"ok":true,"length":%d}`+"\n%sx", n, key),
		"negative":           `{"ok":true,"length":-1}` + "\n",
		"huge":               `{"ok":true,"length":9223372036854775807}` + "\n",
		"float":              `{"ok":true,"length":1e9}` + "\n",
		"beyond the limit":   fmt.Sprintf(`{"ok":true,"length":%d}`+"\n%s", MaxLength+1, strings.Repeat("a", MaxLength+1)),
		"header without end": strings.Repeat(" ", maxHeader+1),
		"too many hosts":     fmt.Sprintf(`{"ok":true,"hosts":[%s],"length":%d}`+"\n%s", many, n, key),
		"host with a space":  fmt.Sprintf(`{"ok":true,"hosts":["a b"],"length":%d}`+"\n%s", n, key),
	} {
		t.Run(name, func(t *testing.T) {
			e, err := ReadReply(strings.NewReader(wire))
			if !errors.Is(err, ErrFrame) || e.Value.Len() != 0 {
				t.Fatalf("%+v, %v", e, err)
			}
			canary(key).absent(t, err.Error())
		})
	}
	for wire, want := range map[string]error{
		`{"ok":true,"length":0}` + "\n":                        ErrEmpty,
		`{"ok":true,"length":5}` + "\nshort":                   ErrShort,
		`{"ok":true,"length":22}` + "\n0123456789\n0123456789": ErrFrame,
		`{"ok":true,"length":21}` + "\n0123456789\n0123456789": ErrNewline,
	} {
		if _, err := ReadReply(strings.NewReader(wire)); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", wire, err, want)
		}
	}
}

func TestReadReplyPassesReadErrorsOn(t *testing.T) {
	broken := errors.New("broken pipe of a test")
	for _, before := range []string{"", `{"ok":true,"length":20}` + "\n01234", `{"ok":true,"length":16}` + "\n0123456789abcdef"} {
		if _, err := ReadReply(io.MultiReader(strings.NewReader(before), iotest.ErrReader(broken))); !errors.Is(err, broken) {
			t.Errorf("after %q: %v", before, err)
		}
	}
}

func TestRequestRoundTrip(t *testing.T) {
	c := newCanary(t)
	ref, err := ParseRef("env:OPENAI_API_KEY")
	if err != nil {
		t.Fatal(err)
	}
	in := Request{Ref: ref, Env: Env{UID: 1000, GID: 1001, User: "me", Home: "/home/me", Directory: "/d", Bus: "unix:path=/b", Timeout: time.Second, Value: c.value(t)}}
	var wire bytes.Buffer
	if err := in.Send(&wire); err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(wire.String(), "\n")
	c.absent(t, line)
	out, err := readRequest(&wire)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Env.Value.Wipe()
	c.same(t, out.Env.Value)
	in.Env.Value, out.Env.Value = Value{}, Value{}
	if !reflect.DeepEqual(in, out) {
		t.Errorf("%+v, want %+v", out, in)
	}
}

func FuzzReadReply(f *testing.F) {
	f.Add([]byte(`{"ok":true,"hosts":["a.b"],"provider":"x","created":"2026-01-02T03:04:05Z","length":16}` + "\n0123456789abcdef"))
	f.Add([]byte(`{"ok":false,"error":"no\u0000pe","length":0}` + "\n"))
	f.Add([]byte(`{"ok":true,"length":-1}` + "\n"))
	f.Fuzz(func(t *testing.T, wire []byte) {
		e, err := ReadReply(bytes.NewReader(wire))
		defer e.Value.Wipe()
		if err != nil {
			if e.Value.Len() != 0 || strings.ContainsFunc(err.Error(), isControl) {
				t.Fatalf("%d bytes with %q", e.Value.Len(), err)
			}
			return
		}
		if err := Check(e.Value); err != nil {
			t.Fatalf("passed: %v", err)
		}
		if !bytes.HasSuffix(wire, e.Value.Reveal()) || len(e.Hosts) > MaxHosts {
			t.Fatal("value is not the end of the frame")
		}
	})
}
