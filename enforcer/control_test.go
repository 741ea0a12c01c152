// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
)

func newPair(t *testing.T) (a, b *control) {
	t.Helper()
	a, theirs, err := newControlPair()
	if err != nil {
		t.Fatal(err)
	}
	if b, err = openControl(theirs); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func TestControlCarriesDescriptors(t *testing.T) {
	a, b := newPair(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	fd, err := Descriptor(w)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.send(message{Kind: msgSession, Sockets: []socketName{{Role: roleTCP, V6: true}}}, fd); err != nil {
		t.Fatal(err)
	}
	w.Close()
	m, files, err := b.expect(msgSession)
	if err != nil || len(files) != 1 || len(m.Sockets) != 1 || !m.Sockets[0].V6 {
		t.Fatalf("received %+v, %d files, %v", m, len(files), err)
	}
	if _, err := files[0].WriteString("through"); err != nil {
		t.Fatal(err)
	}
	files[0].Close()
	if got, _ := io.ReadAll(r); string(got) != "through" {
		t.Errorf("the pipe carried %q", got)
	}
}

func TestControlFailures(t *testing.T) {
	t.Run("failed message is its error", func(t *testing.T) {
		a, b := newPair(t)
		if err := a.send(message{Kind: msgFailed, Stage: "memory", Text: "lock memory: cannot allocate"}); err != nil {
			t.Fatal(err)
		}
		_, _, err := b.expect(msgReady)
		var stage *StageError
		if !errors.As(err, &stage) || stage.Stage != "memory" {
			t.Errorf("got %v", err)
		}
	})
	t.Run("the last word of who did not listen", func(t *testing.T) {
		a, b := newPair(t)
		if err := a.send(message{Kind: msgPolicy}); err != nil {
			t.Fatal(err)
		}
		if err := b.send(message{Kind: msgFailed, Stage: "confine", Text: "drop capabilities"}); err != nil {
			t.Fatal(err)
		}
		b.Close()
		_, _, err := a.expect(msgReady)
		var stage *StageError
		if !errors.As(err, &stage) || stage.Stage != "confine" {
			t.Errorf("got %v", err)
		}
		if _, _, err := a.receive(); !errors.Is(err, errClosed) {
			t.Errorf("after that: %v", err)
		}
	})
	t.Run("another kind", func(t *testing.T) {
		a, b := newPair(t)
		if err := a.send(message{Kind: msgDone}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := b.expect(msgReady); err == nil {
			t.Error("serving passed for ready")
		}
	})
	t.Run("end of file", func(t *testing.T) {
		a, b := newPair(t)
		a.Close()
		if _, _, err := b.expect(msgReady); !errors.Is(err, errClosed) {
			t.Errorf("got %v, want errClosed", err)
		}
	})
	t.Run("not JSON", func(t *testing.T) {
		a, b := newPair(t)
		if _, err := a.conn.Write([]byte("{")); err != nil {
			t.Fatal(err)
		}
		if _, _, err := b.receive(); err == nil {
			t.Error("half an object was taken")
		}
	})
	t.Run("too long", func(t *testing.T) {
		a, _ := newPair(t)
		if err := a.send(message{Kind: msgFailed, Text: strings.Repeat("x", maxMessage)}); err == nil {
			t.Error("a message over the limit was sent")
		}
	})
}
