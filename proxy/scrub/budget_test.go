// SPDX-License-Identifier: Apache-2.0

package scrub

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"runtime"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// noise is text that does not compress, so that windows fill.
func noise(n int) []byte {
	text := make([]byte, n)
	state := uint32(1)
	for i := range text {
		state = state*1664525 + 1013904223
		text[i] = byte(state >> 24)
	}
	return text
}

// TestD3MemoryOfDecoders: with the widest window that each coding may have, a
// decoder takes no more than is reserved for it.
func TestD3MemoryOfDecoders(t *testing.T) {
	text := noise(20 << 20)
	wide := map[string][]byte{
		"gzip": encode(t, "gzip", text), "deflate": encode(t, "deflate", text),
		"br": func() []byte {
			var b bytes.Buffer
			w := brotli.NewWriterOptions(&b, brotli.WriterOptions{Quality: 1, LGWin: 24})
			w.Write(text)
			w.Close()
			return b.Bytes()
		}(),
		"zstd": func() []byte {
			var b bytes.Buffer
			w, _ := zstd.NewWriter(&b, zstd.WithWindowSize(maxWindow), zstd.WithEncoderLevel(zstd.SpeedFastest))
			w.Write(text)
			w.Close()
			return b.Bytes()
		}(),
	}
	for name, body := range wide {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		r, err := Decode([]string{name}, io.NopCloser(bytes.NewReader(body)), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.CopyN(io.Discard, r, 19<<20); err != nil {
			t.Fatalf("%s: %d, %v", name, n, err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if got := int64(after.HeapAlloc) - int64(before.HeapAlloc); got > decoders[name].memory {
			t.Errorf("%s takes %d bytes, %d are reserved", name, got, decoders[name].memory)
		} else {
			t.Logf("%s takes %d bytes of %d", name, got, decoders[name].memory)
		}
		r.Close()
	}
}

// TestD3DecodersAreBounded: one session's decoders together, and what is closed
// makes room.
func TestD3DecodersAreBounded(t *testing.T) {
	var budget Budget
	open := func(codings string) (io.Closer, error) {
		return Decode([]string{codings}, io.NopCloser(bytes.NewReader(nil)), Limits{Budget: &budget})
	}
	var all []io.Closer
	for {
		r, err := open("br")
		if err != nil {
			if !errors.Is(err, ErrBudget) {
				t.Error(err)
			}
			break
		}
		all = append(all, r)
	}
	if n := int(maxDecoding / decoders["br"].memory); len(all) != n {
		t.Errorf("%d decoders, not %d", len(all), n)
	}
	if _, err := open("br, zstd, gzip"); !errors.Is(err, ErrBudget) {
		t.Error(err)
	}
	asked := http.Header{"Accept-Encoding": {"gzip, br;q=0.9, zstd"}}
	if Requested(asked, &budget); asked.Get("Accept-Encoding") != "gzip" {
		t.Errorf("asks for %q", asked)
	}
	for _, r := range all {
		r.Close()
		r.Close() // once is enough
	}
	if n := budget.used.Load(); n != 0 {
		t.Errorf("%d bytes are still reserved", n)
	}
	asked = http.Header{"Accept-Encoding": {"gzip, br;q=0.9, zstd"}}
	if Requested(asked, &budget); asked.Get("Accept-Encoding") != "gzip, br;q=0.9, zstd" {
		t.Errorf("asks for %q", asked)
	}
}
