// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"io"
	"net/http"
	"strings"
	"time"
)

// relayUpgrade joins the two legs of a WebSocket. Any other 101, or one with an
// extension nobody offered, is not passed on.
func (s *Server) relayUpgrade(x *exchange, resp *http.Response) error {
	up, ok := resp.Body.(io.ReadWriteCloser)
	upgrade := resp.Header["Upgrade"]
	if !ok || len(upgrade) != 1 || !strings.EqualFold(upgrade[0], "websocket") {
		return s.refuse(x, badResponse("101 without websocket"))
	}
	if len(resp.Header["Sec-Websocket-Extensions"]) > 0 {
		return s.refuse(x, badResponse("websocket extension that was not offered"))
	}
	header := incomingHeader(resp.Header)
	x.finding.Restore(header)
	frames := io.Reader(up)
	if x.scrubbed() {
		scrubber := s.scrubber
		scrubber.Header(header)
		frames = scrubber.Frames(up)
	}
	s.cookies.learn(x.conn.host, header)
	header["Connection"] = []string{"Upgrade"}
	header["Upgrade"] = []string{"websocket"}
	x.record.Status, x.begun = http.StatusSwitchingProtocols, true
	down, err := x.out.upgrade(header)
	if err != nil {
		return errAbort
	}
	in, out := join(down, up, frames)
	x.body.n.Add(in)
	x.sent += out
	return nil
}

// join copies both ways until both have ended: what goes down is read from
// frames. When one way has ended, the other has halfCloseTimeout.
func join(down, up io.ReadWriteCloser, frames io.Reader) (in, out int64) {
	ended := make(chan struct{}, 2)
	go func() {
		in = joinHalf(up, down, down)
		ended <- struct{}{}
	}()
	go func() {
		out = joinHalf(down, frames, up)
		ended <- struct{}{}
	}()
	<-ended
	timer := time.AfterFunc(halfCloseTimeout, func() {
		down.Close()
		up.Close()
	})
	<-ended
	timer.Stop()
	down.Close()
	up.Close()
	return in, out
}

// joinHalf copies one direction and passes its end on. src reads from source.
func joinHalf(dst io.ReadWriteCloser, src io.Reader, source io.Closer) (n int64) {
	buf := copyBuffers.Get().(*[copyBufferSize]byte)
	defer copyBuffers.Put(buf)
	for {
		m, err := src.Read(buf[:])
		if m > 0 {
			if _, werr := dst.Write(buf[:m]); werr != nil {
				source.Close()
				return n
			}
			n += int64(m)
		}
		if err != nil {
			if cw, ok := dst.(closeWriter); err != io.EOF || !ok || cw.CloseWrite() != nil {
				dst.Close()
			}
			return n
		}
	}
}
