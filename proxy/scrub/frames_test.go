// SPDX-License-Identifier: Apache-2.0

package scrub

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
)

// frame writes one unmasked frame.
func frame(first byte, payload string) string {
	head := []byte{first}
	switch n := len(payload); {
	case n < 126:
		head = append(head, byte(n))
	case n < 1<<16:
		head = binary.BigEndian.AppendUint16(append(head, 126), uint16(n))
	default:
		head = binary.BigEndian.AppendUint64(append(head, 127), uint64(n))
	}
	return string(head) + payload
}

// event is a message or a control frame as a client sees it.
type event struct {
	op      byte
	payload string
}

// parseFrames is a client of its own.
func parseFrames(t *testing.T, stream string) (events []event) {
	t.Helper()
	open := -1 // index of the message under way
	for stream != "" {
		op, fin, n, head := stream[0]&0xf, stream[0]&0x80 != 0, int(stream[1]), 2
		if stream[0]&0x70 != 0 {
			t.Fatalf("reserved bits in %q", stream[:2])
		}
		switch n {
		case 126:
			n, head = int(binary.BigEndian.Uint16([]byte(stream[2:4]))), 4
		case 127:
			n, head = int(binary.BigEndian.Uint64([]byte(stream[2:10]))), 10
		}
		payload := stream[head : head+n]
		stream = stream[head+n:]
		switch {
		case op >= 8:
			events = append(events, event{op, payload})
			continue
		case op == 0 && open >= 0:
			events[open].payload += payload
		case op != 0 && open < 0:
			open = len(events)
			events = append(events, event{op, payload})
		default:
			t.Fatalf("opcode %d out of place", op)
		}
		if fin {
			open = -1
		}
	}
	return events
}

// sorted moves control frames behind the message that they interrupt: where in
// it they stand is not part of what a message says.
func sorted(events []event) (data, control []event) {
	for _, e := range events {
		if e.op >= 8 {
			control = append(control, e)
		} else {
			data = append(data, e)
		}
	}
	return data, control
}

func TestFrameOfOneMessageKeepsItsForm(t *testing.T) {
	s := scrubber(t, [2]string{canary, placeholder})
	for _, size := range []int{0, 1, 125, 126, 127, 65535, 65536, 1 << 20} {
		text := func(v string) string {
			return frame(0x81, strings.Repeat(".", size)+v) + frame(0x82, v+strings.Repeat(".", size)) + frame(0x81, strings.Repeat("x", size))
		}
		got, err := io.ReadAll(s.Frames(strings.NewReader(text(canary))))
		if err != nil || string(got) != text(placeholder) {
			t.Errorf("size %d: %d bytes, %v", size, len(got), err)
		}
	}
}

// TestCredentialAcrossFragments is L2 in WebSocket: cut at every byte, with
// pings between, in every size of read.
func TestCredentialAcrossFragments(t *testing.T) {
	s := scrubber(t, [2]string{canary, placeholder})
	for name, encode := range encodings() {
		body := "{" + encode(canary) + "}"
		want := string(s.Bytes(nil, []byte(body)))
		for i := range body {
			stream := frame(0x01, body[:i]) + frame(0x89, "ping "+canary) + frame(0x00, "") + frame(0x80, body[i:]) + frame(0x88, "\x03\xe8"+canary)
			got, err := io.ReadAll(s.Frames(strings.NewReader(stream)))
			if err != nil {
				t.Fatal(err)
			}
			data, control := sorted(parseFrames(t, string(got)))
			if len(data) != 1 || data[0] != (event{1, want}) {
				t.Fatalf("%s, at %d: %q, want %q", name, i, data, want)
			}
			if len(control) != 2 || control[0].payload != "ping "+placeholder || control[1].payload != "\x03\xe8"+placeholder {
				t.Fatalf("control frames: %q", control)
			}
		}
	}
}

// TestRandomFrames is the property test of frames.
func TestRandomFrames(t *testing.T) {
	s, all := scrubber(t, propertyPairs...), fragments(propertyPairs)
	for seed := range uint64(400) {
		random := rand.New(rand.NewPCG(seed, 3))
		var stream strings.Builder
		var want []event
		for range random.IntN(5) {
			seedBytes := make([]byte, random.IntN(30))
			for i := range seedBytes {
				seedBytes[i] = byte(random.Uint32())
			}
			body := expand(seedBytes, all)
			op := byte(1 + random.IntN(2))
			want = append(want, event{op, string(s.Bytes(nil, []byte(body)))})
			for {
				n := random.IntN(len(body) + 1)
				if random.IntN(3) == 0 {
					stream.WriteString(frame(0x80|op, body))
					break
				}
				stream.WriteString(frame(op, body[:n]))
				body, op = body[n:], 0
				if random.IntN(4) == 0 {
					stream.WriteString(frame(0x8a, "pong"))
				}
			}
		}
		setWary(s, seed%2 == 1)
		cut := &cutReader{stream.String(), random}
		got, err := io.ReadAll(iotest.OneByteReader(s.Frames(cut)))
		if err != nil {
			t.Fatal(err)
		}
		data, _ := sorted(parseFrames(t, string(got)))
		if len(data) != len(want) {
			t.Fatalf("seed %d: %d messages, want %d", seed, len(data), len(want))
		}
		for i := range want {
			if data[i] != want[i] {
				t.Fatalf("seed %d: %q, want %q", seed, data[i], want[i])
			}
		}
	}
}

// TestFramesLeaveAtOnce is L7: a message is given away whole before the source
// is asked for more, head and payload in one Read.
func TestFramesLeaveAtOnce(t *testing.T) {
	s := scrubber(t, [2]string{canary, placeholder})
	for _, text := range []string{frame(0x81, "token sk-"), frame(0x01, "token."), frame(0x81, ""), frame(0x89, ""), frame(0x88, "\x03\xe8")} {
		src := iotest.DataErrReader(strings.NewReader(text)) // no second read
		buf := make([]byte, 64)
		n, err := s.Frames(src).Read(buf)
		if err != nil || string(buf[:n]) != text {
			t.Errorf("%q: %q, %v", text, buf[:n], err)
		}
	}
}

func TestFramesOutsideTheProtocol(t *testing.T) {
	s := scrubber(t, [2]string{canary, placeholder})
	long := strings.Repeat("c", 126)
	for name, stream := range map[string]string{
		"mask":                       "\x81\x84\x00\x00\x00\x00test",
		"rsv1":                       frame(0xc1, "x"),
		"rsv2":                       frame(0xa1, "x"),
		"rsv3":                       frame(0x91, "x"),
		"opcode 3":                   frame(0x83, "x"),
		"opcode 11":                  frame(0x8b, "x"),
		"fragmented ping":            frame(0x09, "x"),
		"long ping":                  frame(0x89, long),
		"close of one byte":          frame(0x88, "x"),
		"continuation of nothing":    frame(0x80, "x"),
		"message inside a message":   frame(0x01, "x") + frame(0x81, "y"),
		"length not the shortest":    "\x81\x7e\x00\x05hello",
		"length not the shortest 64": "\x81\x7f\x00\x00\x00\x00\x00\x00\x01\x00" + strings.Repeat("x", 256),
		"length of 64 bits":          "\x81\x7f\x80\x00\x00\x00\x00\x00\x00\x00x",
	} {
		if _, err := io.ReadAll(s.Frames(strings.NewReader(stream))); !errors.Is(err, ErrFrame) {
			t.Errorf("%s: %v", name, err)
		}
	}
	got, err := io.ReadAll(s.Frames(strings.NewReader("\x81\x7e\x01\x00text " + canary[:20])))
	if bytes.Contains(got, []byte(canary[:2])) || err == nil {
		t.Errorf("of a frame that breaks off: %q, %v", got, err)
	}
	whole := frame(0x01, "ab") + frame(0x80, long)
	for i := 1; i < len(whole); i++ {
		if _, err := io.ReadAll(s.Frames(strings.NewReader(whole[:i]))); err == nil && i != 4 {
			t.Errorf("%d of %d bytes pass for whole", i, len(whole))
		}
	}
}

// TestIdleFramesHoldNoWindow: a WebSocket is idle most of its life.
func TestIdleFramesHoldNoWindow(t *testing.T) {
	s := scrubber(t, [2]string{canary, placeholder})
	f := s.Frames(&script{[]string{frame(0x81, "hello"), frame(0x89, "")}, io.EOF}).(*frames)
	var got bytes.Buffer
	buf := make([]byte, 64)
	for range 2 {
		n, err := f.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		got.Write(buf[:n])
	}
	if f.window != nil || got.String() != frame(0x81, "hello")+frame(0x89, "") {
		t.Errorf("%q", got.String())
	}
}

// endsWithFrame is a parser of its own: whether stream is whole frames.
func endsWithFrame(stream string) bool {
	for stream != "" {
		if len(stream) < 2 || len(stream) < 2+int(stream[1]) {
			return false
		}
		stream = stream[2+int(stream[1]):] // short ones alone
	}
	return true
}

// TestBetweenFrames: at whatever byte a stream is left, it is known whether a
// frame may follow.
func TestBetweenFrames(t *testing.T) {
	s := scrubber(t, [2]string{canary, placeholder})
	stream := frame(0x81, "hello") + frame(0x01, canary[:9]) + frame(0x89, "ping") + frame(0x00, canary[9:]) + frame(0x80, "") + frame(0x81, "") + frame(0x82, canary)
	for _, size := range []int{1, 3, 64} {
		for name, src := range map[string]io.Reader{
			"whole": strings.NewReader(stream), "bytes": iotest.OneByteReader(strings.NewReader(stream)),
		} {
			f, got, buf := s.Frames(src), "", make([]byte, size)
			for err := error(nil); err == nil; {
				var n int
				n, err = f.Read(buf)
				if got += string(buf[:n]); f.Between() != endsWithFrame(got) {
					t.Errorf("%s, %d at a time: between is %t behind %q", name, size, f.Between(), got)
				}
			}
		}
	}
}

func FuzzFrames(f *testing.F) {
	s := scrubber(f, [2]string{canary, placeholder})
	f.Add([]byte(frame(0x01, canary[:9])+frame(0x80, canary[9:])), uint64(1))
	f.Add([]byte(frame(0x81, canary)+frame(0x88, "\x03\xe8bye")), uint64(2))
	f.Add([]byte("\x81\x7e\x00\x05hello"), uint64(3))
	f.Fuzz(func(t *testing.T, stream []byte, cuts uint64) {
		whole, errWhole := io.ReadAll(s.Frames(bytes.NewReader(stream)))
		cut, errCut := io.ReadAll(s.Frames(&cutReader{string(stream), rand.New(rand.NewPCG(cuts, 1))}))
		if (errWhole == nil) != (errCut == nil) {
			t.Fatalf("%v and %v", errWhole, errCut)
		}
		if errWhole == nil && len(whole) > 0 {
			a, _ := sorted(parsePrefix(t, whole))
			b, _ := sorted(parsePrefix(t, cut))
			if len(a) != len(b) {
				t.Fatalf("%q and %q", a, b)
			}
			for i := range a {
				if a[i] != b[i] || strings.Contains(a[i].payload, canary) {
					t.Fatalf("%q and %q", a[i], b[i])
				}
			}
		}
	})
}

func parsePrefix(t *testing.T, stream []byte) []event { return parseFrames(t, string(stream)) }
