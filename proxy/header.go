// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"net/http"
	"net/textproto"
	"strings"
)

// hopByHop are the fields that belong to one connection (RFC 9110 section
// 7.6.1), and those by which one hop speaks to the next.
var hopByHop = []string{
	"Connection",
	"Proxy-Connection",
	"Keep-Alive",
	"Te",
	"Trailer",
	"Transfer-Encoding",
	"Upgrade",
	"Http2-Settings",
	"Proxy-Authenticate",
	"Proxy-Authentication-Info",
	"Proxy-Authorization",
}

// stripHop removes the fields of this hop, those that Connection names
// included. It runs before the credential is set: naming Authorization there
// cannot take the real value away (H6).
func stripHop(header http.Header) {
	for _, value := range header["Connection"] {
		for name := range strings.SplitSeq(value, ",") {
			if name = textproto.TrimString(name); name != "" {
				delete(header, textproto.CanonicalMIMEHeaderKey(name))
			}
		}
	}
	for _, name := range hopByHop {
		delete(header, name)
	}
}

// outgoingHeader turns the judged header, which is the exchange's own, into the
// one that goes upstream.
func outgoingHeader(x *exchange) http.Header {
	header := x.header
	trailers := hasToken(header["Te"], "trailers") // gRPC insists on it
	stripHop(header)
	delete(header, "Host")
	delete(header, "Content-Length")
	if trailers {
		header["Te"] = []string{"trailers"}
	}
	if x.expect {
		header["Expect"] = []string{"100-continue"}
	}
	if x.upgrade {
		header["Connection"] = []string{"Upgrade"}
		header["Upgrade"] = []string{"websocket"}
		delete(header, "Sec-Websocket-Extensions")
	}
	if x.scrubbed() {
		x.askReadable(header)
	}
	if _, ok := header["User-Agent"]; !ok {
		header["User-Agent"] = nil // or net/http adds its own
	}
	return header
}

// incomingHeader strips what an upstream's answer says to this hop alone, and
// what would lead the agent around this proxy: Alt-Svc points to another
// protocol or host.
func incomingHeader(header http.Header) http.Header {
	stripHop(header)
	delete(header, "Alt-Svc")
	delete(header, "Content-Length")
	for name, values := range header {
		if !validField(name, values) {
			delete(header, name)
		}
	}
	return header
}

func validField(name string, values []string) bool {
	if !validName(name) {
		return false
	}
	for _, value := range values {
		if !validValue(value) {
			return false
		}
	}
	return true
}
