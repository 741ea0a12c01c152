// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// maxStreams bounds the connections of a session; one more is closed at
	// once.
	maxStreams = 64
	// streamTimeout is for one message, from the end of the one before to its
	// answer's last octet (RFC 7766, section 6.2.3, asks for seconds).
	streamTimeout = 10 * time.Second
	// acceptPause is how long accept waits after an error such as a full
	// descriptor table, which passes.
	acceptPause = 50 * time.Millisecond
)

// streams are the connections being served. The zero value is ready.
type streams struct {
	mu    sync.Mutex
	conns map[net.Conn]net.Listener
}

// ServeStream answers on the connections of a TCP listener until it is closed,
// then closes them and returns nil when they have ended.
func (s *Server) ServeStream(listener net.Listener) error {
	var serving sync.WaitGroup
	defer serving.Wait()
	defer s.streams.closeOf(listener)
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if passing(err) {
			<-time.After(acceptPause)
			continue
		}
		if err != nil {
			return fmt.Errorf("serve dns: %w", err)
		}
		if !s.streams.add(conn, listener) {
			conn.Close()
			continue
		}
		serving.Go(func() {
			defer s.streams.remove(conn)
			s.serveConn(conn)
		})
	}
}

// serveConn answers questions in turn, each behind its length in two octets
// (RFC 1035, section 4.2.2), until one is malformed or late.
func (s *Server) serveConn(conn net.Conn) {
	message, out := make([]byte, maxQuery), make([]byte, 2, 2+maxReply)
	for {
		if conn.SetDeadline(time.Now().Add(streamTimeout)) != nil {
			return
		}
		if _, err := io.ReadFull(conn, message[:2]); err != nil {
			return
		}
		size := int(binary.BigEndian.Uint16(message))
		if size > maxQuery {
			return
		}
		if _, err := io.ReadFull(conn, message[:size]); err != nil {
			return
		}
		reply := s.answer(out, message[:size], "tcp")
		if reply == nil {
			return
		}
		binary.BigEndian.PutUint16(reply, uint16(len(reply)-2))
		if _, err := conn.Write(reply); err != nil {
			return
		}
	}
}

func (t *streams) add(conn net.Conn, listener net.Listener) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.conns) >= maxStreams {
		return false
	}
	if t.conns == nil {
		t.conns = make(map[net.Conn]net.Listener)
	}
	t.conns[conn] = listener
	return true
}

func (t *streams) remove(conn net.Conn) {
	conn.Close()
	t.mu.Lock()
	delete(t.conns, conn)
	t.mu.Unlock()
}

// closeOf closes the connections of one listener.
func (t *streams) closeOf(listener net.Listener) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for conn, from := range t.conns {
		if from == listener {
			conn.Close()
		}
	}
}
