// SPDX-License-Identifier: Apache-2.0

package scrub

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// script is a source that gives one piece a Read.
type script struct {
	pieces []string
	err    error // at the end
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.pieces) == 0 {
		return 0, s.err
	}
	n := copy(p, s.pieces[0])
	if s.pieces[0] = s.pieces[0][n:]; s.pieces[0] == "" {
		s.pieces = s.pieces[1:]
	}
	return n, nil
}

// TestNothingButABeginningIsHeldBack is L7: what a piece completes is given
// away before the next one is read.
func TestNothingButABeginningIsHeldBack(t *testing.T) {
	s := scrubber(t, [2]string{canary, placeholder})
	src := &script{err: io.EOF}
	r := s.Reader(src)
	buf := make([]byte, 256)
	for i, step := range []struct {
		in  []string
		out string // of one Read, after which every piece has been read
	}{
		{[]string{"data: {\"delta\":\"Hello\"}\n\n"}, "data: {\"delta\":\"Hello\"}\n\n"},
		{[]string{"data: sk-ant-api03-X"}, "data: "},
		{[]string{"other\n\n"}, "sk-ant-api03-Xother\n\n"},
		{[]string{"ask"}, "ask"}, // so does the placeholder begin
		{[]string{"-ant-"}, "-ant-"},
		{[]string{canary[len("sk-ant-"):] + "!"}, placeholder[len("sk-ant-"):] + "!"},
		{[]string{"100%"}, "100"},
		{[]string{" sure!"}, "% sure!"},
		{[]string{"%7", "x%73k%2"}, "%7x"}, // %73 is the first character, %2d the third
		{[]string{"e."}, "%73k%2e."},
		{[]string{"\\u00", "e9."}, "\\u00e9."},
		{[]string{canary[:20], canary[20:40], canary[40:] + "!"}, placeholder + "!"},
		{[]string{"user=" + canary}, "user=" + placeholder},
	} {
		src.pieces = step.in
		n, err := r.Read(buf)
		if err != nil || string(buf[:n]) != step.out || len(src.pieces) > 0 {
			t.Fatalf("step %d: %q, %v, %d pieces left, want %q", i, buf[:n], err, len(src.pieces), step.out)
		}
	}
}

// TestL7TokensAreNotHeldBack: of text that comes letter by letter, each leaves
// before the next comes, and a credential in it does not.
func TestL7TokensAreNotHeldBack(t *testing.T) {
	for _, pair := range [][2]string{
		{canary, placeholder}, {"ghp_canaryQQQQWWWWEEEERRRRTTTTYYYY1", "ghp_phantomAAAABBBBCCCCDDDDEEEEFFFF"},
	} {
		s := scrubber(t, pair)
		text := "She asks, as usual: should ghosts sk sk- ghp gh c2s nNrL 736 67 of the mask be masked? "
		src, buf := &script{err: io.EOF}, make([]byte, 8)
		r := s.Reader(src)
		for i := range text {
			src.pieces = []string{text[i : i+1], "\x00not yet"}
			if n, err := r.Read(buf); err != nil || string(buf[:n]) != text[i:i+1] || len(src.pieces) != 1 {
				t.Fatalf("%q behind %q: %q, %v, %d pieces left", text[i], text[:i], buf[:n], err, len(src.pieces))
			}
		}
		src.pieces, src.err = nil, io.EOF
		for _, c := range []byte(pair[0]) {
			src.pieces = append(src.pieces, string([]byte{c}))
		}
		if got, err := io.ReadAll(r); string(got) != pair[1] || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
}

func TestReaderKeepsToTheContract(t *testing.T) {
	s := scrubber(t, [2]string{canary, placeholder})
	body, want := strings.Repeat(canary+" and ", 2000), strings.Repeat(placeholder+" and ", 2000)
	for name, src := range map[string]io.Reader{
		"plain": strings.NewReader(body), "halves": iotest.HalfReader(strings.NewReader(body)),
		"bytes": iotest.OneByteReader(strings.NewReader(body)), "end with data": iotest.DataErrReader(strings.NewReader(body)),
	} {
		if err := iotest.TestReader(s.Reader(src), []byte(want)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWhatIsHeldBackOfABrokenStreamIsDropped: it may be most of a credential.
func TestWhatIsHeldBackOfABrokenStreamIsDropped(t *testing.T) {
	s := scrubber(t, [2]string{canary, placeholder})
	broken := errors.New("connection lost")
	got, err := io.ReadAll(s.Reader(&script{[]string{"text " + canary[:30]}, broken}))
	if string(got) != "text " || !errors.Is(err, broken) {
		t.Errorf("%q, %v", got, err)
	}
}

// TestMemoryIsBounded: what is held back is no longer than the longest
// spelling of the longest credential, however long what looks like one goes on.
func TestMemoryIsBounded(t *testing.T) {
	real := strings.Repeat("k9", 8<<10)
	s := scrubber(t, [2]string{real, strings.Repeat("p", len(real))})
	w := openWindow()
	defer w.close()
	body := strings.Repeat(`\\\\\\\u006b&#0000057;`, len(real)) // twice the credential
	src := strings.NewReader(body)
	var out bytes.Buffer
	for buf := make([]byte, 4096); src.Len() > 0; {
		w.fill(s, src, 4096)
		for w.waiting() > 0 {
			out.Write(buf[:w.take(buf)])
		}
	}
	if len(w.buf) > 4*11*len(real) || out.Len() < len(body)/2-4096 {
		t.Errorf("%d bytes for a credential of %d, %d written", len(w.buf), len(real), out.Len())
	}
}

// TestStreamsDoNotAllocate: for each chunk.
func TestStreamsDoNotAllocate(t *testing.T) {
	s := scrubber(t, tenPairs()...)
	body := corpora()["json"]
	chunk, buf := bytes.NewReader(body[:4096]), make([]byte, 8192)
	r := s.Reader(&endless{chunk, body[:4096]})
	r.Read(buf)
	if n := testing.AllocsPerRun(100, func() { r.Read(buf) }); n > 0 {
		t.Errorf("%v allocations a read", n)
	}
}

// endless gives the same chunk for ever.
type endless struct {
	*bytes.Reader
	chunk []byte
}

func (e *endless) Read(p []byte) (int, error) {
	if e.Len() == 0 {
		e.Reset(e.chunk)
	}
	return e.Reader.Read(p)
}
