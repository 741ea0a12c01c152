// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
)

// A member who holds as many connections as there may be, and asks for more,
// keeps nobody of root's waiting.
func TestMembersTakeNoTurnOfRoots(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	plain, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	root := false
	l := limit(plain, func(net.Conn) bool { return root })
	dial := func() net.Conn {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	accept := func() net.Conn {
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	held := make([]net.Conn, maxOfMembers)
	for i := range held {
		dial()
		held[i] = accept()
	}
	more := dial()
	ended := make(chan error, 1)
	go func() { _, err := l.Accept(); ended <- err }()
	if n, err := more.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("one member too many: %d, %v", n, err)
	}
	plain.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener: %v", err)
	}
	if plain, err = net.Listen("unix", path); err != nil {
		t.Fatal(err)
	}
	l.(*limited).Listener, root = plain, true
	dial()
	accept()
	held[0].Close()
	held[0].Close() // gives one turn back
	root = false
	dial()
	accept()
}
