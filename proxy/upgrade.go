// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"crypto/sha1"
	"encoding/base64"
	"io"
	"net/http"
	"strings"
)

// relayUpgrade joins the two legs of a WebSocket. Any other 101, or one with an
// extension nobody offered, is not passed on.
func (s *Server) relayUpgrade(x *exchange, resp *http.Response) error {
	up, ok := resp.Body.(leg)
	upgrade := resp.Header["Upgrade"]
	if !ok || len(upgrade) != 1 || !strings.EqualFold(upgrade[0], "websocket") {
		return s.refuse(x, badResponse("101 without websocket"))
	}
	if len(resp.Header["Sec-Websocket-Extensions"]) > 0 {
		return s.refuse(x, badResponse("websocket extension that was not offered"))
	}
	if !accepted(x.header, resp.Header) {
		return s.refuse(x, badResponse("101 that does not answer the key"))
	}
	header := incomingHeader(resp.Header)
	x.finding.Restore(header)
	var frames io.Reader = up
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
	w := newWebSocket(down, up)
	x.opened(w)
	in, out := w.join(frames)
	x.body.n.Add(in)
	x.sent += out
	return nil
}

// acceptGUID is what a server appends to the key of a handshake (RFC 6455
// section 1.3).
const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// accepted reports whether the server that sent answer has understood the
// handshake in header. One that has not speaks something else behind its 101.
func accepted(header, answer http.Header) bool {
	keys, accepts := header["Sec-Websocket-Key"], answer["Sec-Websocket-Accept"]
	if len(keys) != 1 || len(accepts) != 1 {
		return false
	}
	sum := sha1.Sum([]byte(keys[0] + acceptGUID))
	return accepts[0] == base64.StdEncoding.EncodeToString(sum[:])
}
