// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"errors"
	"io"
	"net"
	"os"
	"time"
)

// halfCloseTimeout ends a spliced connection one half of which has ended when
// nothing came from the other for this long. Without it peers that never close
// hold their sockets for ever.
const halfCloseTimeout = 2 * time.Minute

// closeWriter is a connection that can end one direction.
type closeWriter interface{ CloseWrite() error }

// Splice copies both ways until both directions have ended, and closes both
// connections. The end of one direction is passed on as a half-close; an error
// ends both. Between two *net.TCPConn the kernel moves the bytes (splice(2)).
// It returns the bytes that went from a to b and from b to a.
func Splice(a, b net.Conn) (ab, ba int64) {
	defer a.Close()
	defer b.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		ba = spliceHalf(a, b)
	}()
	ab = spliceHalf(b, a)
	<-done
	return ab, ba
}

// spliceHalf copies one direction.
func spliceHalf(dst, src net.Conn) (n int64) {
	for {
		moved, err := io.Copy(dst, src)
		n += moved
		if errors.Is(err, os.ErrDeadlineExceeded) && moved > 0 {
			src.SetReadDeadline(time.Now().Add(halfCloseTimeout))
			continue
		}
		cw, ok := dst.(closeWriter)
		if err != nil || !ok || cw.CloseWrite() != nil {
			dst.Close()
			src.Close()
			return n
		}
		// The other direction now ends when it has been silent for long.
		dst.SetReadDeadline(time.Now().Add(halfCloseTimeout))
		return n
	}
}
