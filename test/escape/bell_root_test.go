// SPDX-License-Identifier: Apache-2.0

//go:build root

package escape

import (
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// bell rings when one of the host's servers is reached. It holds more rings
// than any test makes.
type bell struct{ rings chan string }

func (b *bell) ring(key string) { b.rings <- key }

// wait blocks until so many servers were reached.
func (b *bell) wait(t *testing.T, many int) {
	t.Helper()
	var seen []string
	for len(seen) < many {
		select {
		case key := <-b.rings:
			if !slices.Contains(seen, key) {
				seen = append(seen, key)
			}
		case <-time.After(time.Minute):
			t.Fatalf("only %v were reached", seen)
		}
	}
}

// visits is who came so far, each once.
func (b *bell) visits() []string {
	var all []string
	for {
		select {
		case key := <-b.rings:
			all = append(all, key)
		default:
			slices.Sort(all)
			return slices.Compact(all)
		}
	}
}

// accept serves until the test ends. Who comes by a unix socket is sent a
// socket of the host's network.
func (b *bell) accept(s *stage, key string, l net.Listener) {
	s.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			b.ring(key)
			if u, ok := conn.(*net.UnixConn); ok {
				s.lend(u)
			}
			conn.Close()
		}
	}()
}

// lend passes a TCP socket of the world's on.
func (s *stage) lend(conn *net.UnixConn) {
	var fd int
	err := s.world.Do(func() error {
		var err error
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		s.Errorf("open socket to lend: %v", err)
		return
	}
	defer unix.Close(fd)
	// The visitor may have gone; the bell has rung.
	_, _, _ = conn.WriteMsgUnix([]byte("way out"), unix.UnixRights(fd), nil)
}

// read receives until the test ends.
func (b *bell) read(s *stage, key string, conn net.PacketConn) {
	s.Cleanup(func() { conn.Close() })
	go func() {
		for {
			if _, _, err := conn.ReadFrom(make([]byte, 64)); err != nil {
				return
			}
			b.ring(key)
		}
	}()
}
