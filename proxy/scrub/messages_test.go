// SPDX-License-Identifier: Apache-2.0

package scrub

import (
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

// messages writes payloads one after another, each behind its head.
func messages(payloads ...string) string {
	var b []byte
	for _, p := range payloads {
		b = binary.BigEndian.AppendUint32(append(b, 0), uint32(len(p)))
		b = append(b, p...)
	}
	return string(b)
}

// TestFramedKeepsProtobufLengths is L1 in gRPC: the lengths around the value do
// not change, also for who does not know that these are messages.
func TestFramedKeepsProtobufLengths(t *testing.T) {
	s := scrubber(t, [2]string{canary, placeholder})
	stream := func(v string) string {
		field := "\x0a" + string([]byte{byte(len(v))}) + v
		return messages(field, "", "grpc-message: "+v, strings.Repeat("x", 100_000)+field)
	}
	for name, src := range map[string]io.Reader{
		"whole": strings.NewReader(stream(canary)), "bytes": iotest.OneByteReader(strings.NewReader(stream(canary))),
		"end with data": iotest.DataErrReader(strings.NewReader(stream(canary))),
	} {
		if err := iotest.TestReader(s.Framed(src), []byte(stream(placeholder))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if string(s.Bytes(nil, []byte(stream(canary)))) != stream(placeholder) {
		t.Error("as one text")
	}
}

// TestFalseMessages: where the bounds of what are no messages cut a credential
// in two, the agent reads four characters of it at most.
func TestFalseMessages(t *testing.T) {
	s := scrubber(t, [2]string{canary, placeholder})
	for n := range canary {
		src := &script{[]string{messages("x" + canary[:n]), canary[n:] + "!"}, io.EOF}
		got, err := io.ReadAll(s.Framed(src))
		switch text := string(got); {
		case strings.Contains(text, canary[:len("sk-ant-api03-")+1]), strings.Contains(text, canary[n:]) && n < len(canary)-1 && err == nil:
			t.Errorf("cut at %d: %q", n, text)
		}
	}
}

func TestMessageCodings(t *testing.T) {
	for _, name := range messageCodings {
		if err := Messages(http.Header{name: {"gzip"}}); !errors.Is(err, ErrUnknownCoding) {
			t.Errorf("%s: %v", name, err)
		}
		if err := Messages(http.Header{name: {"identity"}}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestMessagesLeaveWhole: each before the next one is asked for, also when its
// end is the beginning of a credential.
func TestMessagesLeaveWhole(t *testing.T) {
	s := scrubber(t, [2]string{canary, placeholder})
	src := &script{err: io.EOF}
	r := s.Framed(src)
	buf := make([]byte, 256)
	for _, text := range []string{"", "a", "token sk-", "sk-a", "100%", "\\u00"} {
		src.pieces = []string{messages(text)}
		n, err := r.Read(buf)
		if err != nil || string(buf[:n]) != messages(text) {
			t.Errorf("%q: %q, %v", text, buf[:n], err)
		}
	}
	// More than a few bytes of a credential are held back all the same.
	src.pieces = []string{messages(canary[:20]), messages("next!")}
	for _, want := range []string{messages(canary[:20])[:framedHead], messages(canary[:20], "next!")[framedHead:]} {
		n, err := r.Read(buf)
		if err != nil || string(buf[:n]) != want {
			t.Errorf("%q, %v, want %q", buf[:n], err, want)
		}
	}
	if n, err := r.Read(buf); n > 0 || err != io.EOF {
		t.Errorf("end: %d, %v", n, err)
	}
}

// TestL11WaryMessages: a last word is held back as a beginning is, up to the next
// message, unless it is as short as what is told of any.
func TestL11WaryMessages(t *testing.T) {
	s := scrubber(t, [2]string{canary, placeholder})
	setWary(s, true)
	src, buf := &script{err: io.EOF}, make([]byte, 256)
	r := s.Framed(src)
	for _, step := range [][2]string{
		{messages("Hello!"), messages("Hello!")},
		{messages("one, two"), messages("one, two")},
		{messages("sk-ant"), messages("sk-ant")[:framedHead]},
		{messages("!"), "sk-ant" + messages("!")},
		{messages("Hello"), messages("Hello")[:framedHead]},
	} {
		src.pieces = []string{step[0]}
		if n, err := r.Read(buf); err != nil || string(buf[:n]) != step[1] {
			t.Errorf("%q: %q, %v", step[0], buf[:n], err)
		}
	}
	if rest, err := io.ReadAll(r); string(rest) != "Hello" || err != nil {
		t.Errorf("end: %q, %v", rest, err)
	}
}

func TestFramedRefuses(t *testing.T) {
	s := scrubber(t, [2]string{canary, placeholder})
	if _, err := io.ReadAll(s.Framed(strings.NewReader("\x01" + messages("x")[1:]))); !errors.Is(err, ErrCompressed) {
		t.Errorf("compressed: %v", err)
	}
	whole := messages("text " + canary)
	for i := 1; i < len(whole); i++ {
		got, err := io.ReadAll(s.Framed(strings.NewReader(whole[:i])))
		if err != io.ErrUnexpectedEOF || strings.Contains(string(got), canary[:len("sk-ant-api03-")+1]) {
			t.Errorf("%d of %d bytes: %q, %v", i, len(whole), got, err)
		}
	}
}

func TestFramedTypes(t *testing.T) {
	for kind, want := range map[string]bool{
		"application/grpc": true, "Application/gRPC+proto; charset=x": true, "application/grpc-web+proto": true, "application/connect+json": true,
		"application/grpc-web-text": false, "application/proto": false, "application/json": false, "text/event-stream": false, "": false,
	} {
		if got := Framed(kind); got != want {
			t.Errorf("%q: %v", kind, got)
		}
	}
}
