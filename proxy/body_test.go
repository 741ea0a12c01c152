// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http/httputil"
	"strings"
	"testing"
	"testing/iotest"
)

func TestChunksAdmitted(t *testing.T) {
	for text, want := range map[string]string{
		"0\r\n\r\n":             "",
		"3\r\nabc\r\n0\r\n\r\n": "abc",
		"3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n":             "abc0123456789",
		"003\r\nabc\r\n000\r\n\r\n":                            "abc",
		"1\r\nx\r\n0\r\nAuthorization: Bearer x\r\nb:\r\n\r\n": "x",
	} {
		br := bufio.NewReader(iotest.OneByteReader(strings.NewReader(text + "NEXT")))
		got, err := io.ReadAll(&chunkReader{br: br})
		if err != nil || string(got) != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
		if rest, _ := io.ReadAll(br); string(rest) != "NEXT" {
			t.Errorf("%q: left %q", text, rest)
		}
	}
}

func TestChunksRefused(t *testing.T) {
	for _, text := range []string{
		"3;ext\r\nabc\r\n0\r\n\r\n", "3;a=b\r\nabc\r\n0\r\n\r\n", "3 \r\nabc\r\n0\r\n\r\n", " 3\r\nabc\r\n0\r\n\r\n",
		"3\nabc\r\n0\r\n\r\n", "3\r\nabc\n0\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n", "3\r\nab\r\n0\r\n\r\n",
		"+3\r\nabc\r\n0\r\n\r\n", "-1\r\n\r\n", "0x3\r\nabc\r\n0\r\n\r\n", "\r\n3\r\nabc\r\n0\r\n\r\n", "g\r\n",
		"ffffffffffffffff\r\n", "1000000000000000\r\n", "3\r\nabc\r\n0\r\nbad trailer\r\n\r\n", "0\r\n : x\r\n\r\n", "0\r\n\n",
		"0\r\n" + strings.Repeat("a: b\r\n", maxTrailerBytes/6+1) + "\r\n", "3\r\nabc", "3\r\nabc\r\n", "3\r\nabc\r\n0\r\n", "", "3",
	} {
		_, err := io.ReadAll(&chunkReader{br: bufio.NewReader(strings.NewReader(text))})
		if err == nil {
			t.Errorf("%.40q was admitted", text)
		}
		if text != "" && strings.HasSuffix(text, "\r\n\r\n") && !errors.Is(err, errChunk) && !errors.Is(err, errTrailer) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}

// TestReplay: a later try gets the body from its beginning, an earlier one
// nothing more; a long body is not kept.
func TestReplay(t *testing.T) {
	b := newRequestBody(strings.NewReader("0123456789"))
	first := b.attempt()
	io.ReadFull(first, make([]byte, 4))
	second, err := b.again()
	if err != nil {
		t.Fatal(err)
	}
	if n, err := first.Read(make([]byte, 4)); n != 0 || err != errBodyClosed {
		t.Errorf("the earlier try read %d, %v", n, err)
	}
	if got, err := io.ReadAll(second); string(got) != "0123456789" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if b.count() != 10 || !b.stop() {
		t.Errorf("counted %d", b.count())
	}
	if n, err := second.Read(make([]byte, 4)); n != 0 || err == nil {
		t.Errorf("read %d after the end, %v", n, err)
	}
	// HTTP/2 asks again for what it sent before an upstream refused the stream, a
	// window of 64 KiB less one at first, and also where it has read nothing.
	long := newRequestBody(bytes.NewReader(make([]byte, maxReplay+1)))
	io.ReadFull(long.attempt(), make([]byte, 1<<16-1))
	rest, err := long.again()
	if err != nil {
		t.Fatalf("the beginning of a long body: %v", err)
	}
	if n, err := io.Copy(io.Discard, rest); n != maxReplay+1 || err != nil {
		t.Errorf("%d bytes again, %v", n, err)
	}
	if _, err := long.again(); err != errNoReplay {
		t.Errorf("long body: %v", err)
	}
}

func TestLengthBody(t *testing.T) {
	br := bufio.NewReader(strings.NewReader("abcdeNEXT"))
	if got, err := io.ReadAll(&lengthReader{br: br, n: 5}); string(got) != "abcde" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := io.ReadAll(&lengthReader{br: br, n: 5}); err != io.ErrUnexpectedEOF {
		t.Errorf("short body: %v", err)
	}
}

// FuzzChunks: an admitted body is the one net/http's reader sees.
func FuzzChunks(f *testing.F) {
	f.Add([]byte("3\r\nabc\r\n0\r\n\r\n"))
	f.Add([]byte("0\r\na: b\r\n\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := io.ReadAll(&chunkReader{br: bufio.NewReader(bytes.NewReader(text))})
		if err != nil {
			return
		}
		want, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(text)))
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%q: %q against %q, %v", text, got, want, err)
		}
	})
}
