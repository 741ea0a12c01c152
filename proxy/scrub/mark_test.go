// SPDX-License-Identifier: Apache-2.0

package scrub

import (
	"bytes"
	"testing"
)

// marksInOrder is marksOf, a byte at a time.
func marksInOrder(b *[64]byte) (found uint64) {
	for i, c := range b {
		if bytes.IndexByte([]byte("%\\&\n"), c) >= 0 {
			found |= 1 << i
		}
	}
	return found
}

// TestMarksOfEveryByte: each byte at each place, alone and among marks.
func TestMarksOfEveryByte(t *testing.T) {
	for _, others := range []byte{0, '%', '\n', 0xff} {
		for c := range 256 {
			for i := range 64 {
				b := [64]byte(bytes.Repeat([]byte{others}, 64))
				b[i] = byte(c)
				if got, want := marksOf(&b), marksInOrder(&b); got != want {
					t.Fatalf("%#x at %d among %#x: %064b, want %064b", c, i, others, got, want)
				}
			}
		}
	}
}

func FuzzMarks(f *testing.F) {
	f.Add([]byte("%41&amp;\\n\r\n+,-."))
	f.Fuzz(func(t *testing.T, text []byte) {
		var b [64]byte
		copy(b[:], text)
		if got, want := marksOf(&b), marksInOrder(&b); got != want {
			t.Fatalf("%q: %064b, want %064b", b, got, want)
		}
	})
}
