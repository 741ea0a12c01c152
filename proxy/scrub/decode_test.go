// SPDX-License-Identifier: Apache-2.0

package scrub

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

type flusher interface {
	io.WriteCloser
	Flush() error
}

var encoders = map[string]func(io.Writer) flusher{
	"gzip":    func(w io.Writer) flusher { return gzip.NewWriter(w) },
	"deflate": func(w io.Writer) flusher { return zlib.NewWriter(w) },
	"raw":     func(w io.Writer) flusher { f, _ := flate.NewWriter(w, 6); return f },
	"br":      func(w io.Writer) flusher { return brotli.NewWriterLevel(w, 5) },
	"zstd":    func(w io.Writer) flusher { e, _ := zstd.NewWriter(w); return e },
}

// coding is the name of an encoder in Content-Encoding.
func coding(name string) string {
	if name == "raw" {
		return "deflate"
	}
	return name
}

func encode(t testing.TB, name string, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := encoders[name](&b)
	w.Write(text)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func decode(t testing.TB, codings string, body []byte, limits Limits) ([]byte, error) {
	t.Helper()
	r, err := Decode([]string{codings}, io.NopCloser(bytes.NewReader(body)), limits)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// TestCodings is L3: each, and each on top of each.
func TestCodings(t *testing.T) {
	s := scrubber(t, [2]string{canary, placeholder})
	text := []byte(strings.Repeat("some text and "+canary+" in it\n", 3000))
	want := bytes.ReplaceAll(text, []byte(canary), []byte(placeholder))
	for inner := range encoders {
		once := encode(t, inner, text)
		if got, err := decode(t, coding(inner), once, Limits{}); err != nil || !bytes.Equal(s.Bytes(nil, got), want) {
			t.Errorf("%s: %d bytes, %v", inner, len(got), err)
		}
		for outer := range encoders {
			twice := encode(t, outer, once)
			got, err := decode(t, coding(inner)+" , "+strings.ToUpper(coding(outer)), twice, Limits{Ratio: 1 << 20})
			if err != nil || !bytes.Equal(got, text) {
				t.Errorf("%s in %s: %d bytes, %v", inner, outer, len(got), err)
			}
		}
	}
}

func TestUnknownCodings(t *testing.T) {
	for _, codings := range []string{"compress", "dcb", "dcz", "gzip, rot13", "gzip;q=1", "gzip,gzip,gzip,gzip", "aes128gcm"} {
		if _, err := Decode([]string{codings}, io.NopCloser(strings.NewReader("x")), Limits{}); !errors.Is(err, ErrUnknownCoding) {
			t.Errorf("%s: %v", codings, err)
		}
	}
	for _, codings := range [][]string{nil, {""}, {"identity"}, {"identity, identity"}} {
		r, err := Decode(codings, io.NopCloser(strings.NewReader("x")), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); string(got) != "x" || err != nil {
			t.Errorf("%q: %q, %v", codings, got, err)
		}
	}
}

func TestBodiesThatEndEarly(t *testing.T) {
	for name := range encoders {
		whole := encode(t, name, []byte(strings.Repeat("words and words ", 100)))
		if got, err := decode(t, coding(name), nil, Limits{}); len(got) > 0 || err != nil {
			t.Errorf("%s, empty: %q, %v", name, got, err)
		}
		for i := 1; i < len(whole)-8; i++ {
			if _, err := decode(t, coding(name), whole[:i], Limits{}); err == nil {
				t.Errorf("%s: %d of %d bytes pass for whole", name, i, len(whole))
			}
		}
		if _, err := decode(t, coding(name), []byte("this is not compressed at all"), Limits{}); err == nil {
			t.Errorf("%s: takes anything", name)
		}
	}
}

// TestBombs is D3: 1:1000 and more ends soon after the floor.
func TestBombs(t *testing.T) {
	zeros := make([]byte, 64<<20)
	for name := range encoders {
		bomb := encode(t, name, zeros)
		r, err := Decode([]string{coding(name)}, io.NopCloser(bytes.NewReader(bomb)), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, r)
		r.Close()
		if !errors.Is(err, ErrExpansion) || n > 2*defaultFloor {
			t.Errorf("%s, 1:%d: %d bytes came out, %v", name, len(zeros)/len(bomb), n, err)
		}
		if _, err := decode(t, coding(name)+",br", encode(t, "br", bomb), Limits{}); !errors.Is(err, ErrExpansion) {
			t.Errorf("%s in br: %v", name, err)
		}
	}
	text := encode(t, "gzip", []byte(strings.Repeat("a", 1<<20)))
	if _, err := decode(t, "gzip", text, Limits{Size: 1 << 19}); !errors.Is(err, ErrExpansion) {
		t.Error(err)
	}
	if got, err := decode(t, "gzip", text, Limits{}); len(got) != 1<<20 || err != nil {
		t.Errorf("below the floor: %d, %v", len(got), err)
	}
}

// TestFirstToken is L7 under a coding: what the server flushed is read before
// it writes more.
func TestFirstToken(t *testing.T) {
	s := scrubber(t, [2]string{canary, placeholder})
	for name, open := range encoders {
		t.Run(name, func(t *testing.T) {
			in, out := io.Pipe()
			body, err := Decode([]string{coding(name)}, in, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			next, done := make(chan struct{}), make(chan error, 1)
			go func() {
				w := open(out)
				for range 20 {
					io.WriteString(w, "data: token of "+canary+".\n\n")
					w.Flush()
					<-next // until it was read
				}
				w.Close()
				out.Close()
				done <- nil
			}()
			r, got := s.Reader(body), make([]byte, 512)
			for i := range 20 {
				want := "data: token of " + placeholder + ".\n\n"
				if _, err := io.ReadFull(r, got[:len(want)]); err != nil || string(got[:len(want)]) != want {
					t.Fatalf("token %d: %q, %v", i, got[:len(want)], err)
				}
				next <- struct{}{}
			}
			if n, err := r.Read(got); n > 0 || err != io.EOF {
				t.Errorf("end: %q, %v", got[:n], err)
			}
			<-done
			body.Close()
		})
	}
}

// TestBodyIsReadToItsEnd: trailers come behind it.
func TestBodyIsReadToItsEnd(t *testing.T) {
	for name := range encoders {
		whole := encode(t, name, []byte("some words"))
		for _, junk := range []int{0, 1, 8 * maxRest} {
			src := bytes.NewReader(append(whole[:len(whole):len(whole)], make([]byte, junk)...))
			r, err := Decode([]string{coding(name)}, io.NopCloser(iotest.HalfReader(src)), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			if junk == 0 && (string(got) != "some words" || err != nil) || err == nil && src.Len() > 0 || junk > maxRest && err == nil && name != "gzip" {
				t.Errorf("%s and %d bytes: %q, %v, %d left", name, junk, got, err, src.Len())
			}
		}
	}
}
