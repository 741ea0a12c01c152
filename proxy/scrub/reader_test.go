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
		{[]string{"data: sk-ant-api03-"}, "data: "},
		{[]string{"other\n\n"}, "sk-ant-api03-other\n\n"},
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
