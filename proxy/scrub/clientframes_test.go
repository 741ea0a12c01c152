// SPDX-License-Identifier: Apache-2.0

package scrub

import (
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
)

// clientFrame is a frame as a client sends it, under a mask of zeros.
func clientFrame(first byte, payload string) string {
	b := []byte{first}
	switch n := len(payload); {
	case n <= maxControl:
		b = append(b, maskBit|byte(n))
	case n <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, maskBit|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, maskBit|127), uint64(n))
	}
	return string(append(b, 0, 0, 0, 0)) + payload
}

// TestClientFramesPass: frames of every length, however they are cut.
func TestClientFramesPass(t *testing.T) {
	var stream strings.Builder
	for _, n := range []int{0, 1, 125, 126, 0xffff, 0x10000} {
		stream.WriteString(clientFrame(finBit|opText, strings.Repeat("x", n)))
	}
	stream.WriteString(clientFrame(opBinary, "one") + clientFrame(finBit|9, "ping") + clientFrame(opContinuation, "two") +
		clientFrame(finBit|opContinuation, "") + clientFrame(finBit|opPong, "") + clientFrame(finBit|opClose, "\x03\xe8bye"))
	want := stream.String()
	for name, src := range map[string]io.Reader{
		"whole": strings.NewReader(want), "bytes": iotest.OneByteReader(strings.NewReader(want)), "halves": iotest.HalfReader(strings.NewReader(want)),
	} {
		if got, err := io.ReadAll(ClientFrames(src)); string(got) != want || err != nil {
			t.Errorf("%s: %d bytes of %d, %v", name, len(got), len(want), err)
		}
	}
}

// badClientFrames are what no client sends.
var badClientFrames = []string{
	"GET / HTTP/1.1\r\n", "\x81\x05hello", "\xc1\x80\x00\x00\x00\x00", "\x83\x80\x00\x00\x00\x00", "\x8b\x80\x00\x00\x00\x00",
	clientFrame(finBit|opContinuation, "x"), clientFrame(opText, "x") + clientFrame(finBit|opText, "y"), clientFrame(9, ""),
	"\x89\xfe\x00\x80\x00\x00\x00\x00", clientFrame(finBit|opClose, "x"), "\x81\xfe\x00\x7d\x00\x00\x00\x00",
	"\x81\xff\x00\x00\x00\x00\x00\x00\xff\xff\x00\x00\x00\x00", "\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00",
}

func TestClientFramesRefuse(t *testing.T) {
	for _, bad := range badClientFrames {
		got, err := io.ReadAll(ClientFrames(strings.NewReader(bad + "GET /next HTTP/1.1\r\n\r\n")))
		if !errors.Is(err, ErrFrame) || len(got) > 0 {
			t.Errorf("%q: %q, %v", bad, got, err)
		}
	}
	whole := clientFrame(finBit|opText, "hello")
	for i := 1; i < len(whole); i++ {
		if got, err := io.ReadAll(ClientFrames(strings.NewReader(whole[:i]))); err != io.ErrUnexpectedEOF || string(got) != whole[:i] {
			t.Errorf("%d of %d bytes: %q, %v", i, len(whole), got, err)
		}
	}
}

// FuzzClientFrames: the verdict does not depend on how a stream is cut, and
// what passes is what came.
func FuzzClientFrames(f *testing.F) {
	for _, bad := range badClientFrames {
		f.Add([]byte(bad), uint64(1))
	}
	f.Add([]byte(clientFrame(opText, "a")+clientFrame(finBit|opContinuation, strings.Repeat("b", 300))), uint64(2))
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64) {
		whole, wholeErr := io.ReadAll(ClientFrames(strings.NewReader(string(stream))))
		if !strings.HasPrefix(string(stream), string(whole)) || wholeErr == nil && len(whole) != len(stream) {
			t.Fatalf("%q of %q, %v", whole, stream, wholeErr)
		}
		random := rand.New(rand.NewPCG(seed, 0))
		rest := string(stream)
		var pieces []string
		for rest != "" {
			n := 1 + random.IntN(len(rest))
			pieces, rest = append(pieces, rest[:n]), rest[n:]
		}
		_, err := io.ReadAll(ClientFrames(&script{pieces, io.EOF}))
		if (err == nil) != (wholeErr == nil) || errors.Is(err, ErrFrame) != errors.Is(wholeErr, ErrFrame) {
			t.Fatalf("%v in pieces, %v whole: %q", err, wholeErr, stream)
		}
	})
}
