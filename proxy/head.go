// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
)

// maxHeaderCount bounds the field lines of one head. Real clients send fewer
// than 60; net/http alone would take 10,000.
const maxHeaderCount = 128

// defaultHeadBytes bounds one head, request line and fields together, when the
// session states no limit of its own.
const defaultHeadBytes = 64 << 10

// head is one HTTP/1.1 request head that passed the strict grammar. Every
// string in it is the client's bytes, unchanged.
type head struct {
	method  string
	target  string // origin-form: begins with "/"
	host    string // the one Host field, not yet canonical
	header  http.Header
	length  int64 // -1: chunked
	close   bool  // the client asked for the connection to end
	expect  bool  // Expect: 100-continue
	upgrade bool  // Upgrade: websocket
}

// headError is a head that is refused: the status the client gets and a short
// constant text. It never carries bytes of the request.
type headError struct {
	status int
	reason audit.Reason
	text   string
}

func (e *headError) Error() string { return "read head: " + e.text }

func malformed(reason audit.Reason, text string) error {
	return &headError{http.StatusBadRequest, reason, text}
}

var errHeadTooLarge = &headError{http.StatusRequestHeaderFieldsTooLarge, audit.ReasonHeaderLimit, "the head exceeds the session's limit"}

// readBlock appends one head, up to and including its empty line, to buf. It
// reads no byte beyond it. An io error before the first byte is returned as is,
// so that the caller can tell an ended connection from a broken head.
func readBlock(br *bufio.Reader, buf []byte, limit int) ([]byte, error) {
	for start := 0; ; { // of the current line
		part, err := br.ReadSlice('\n')
		if len(buf)+len(part) > limit {
			return buf, errHeadTooLarge
		}
		buf = append(buf, part...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			return buf, err
		}
		line := buf[start:]
		switch {
		case !bytes.HasSuffix(line, []byte("\r\n")):
			return buf, malformed(audit.ReasonBadRequest, "bare line feed")
		case len(line) == 2 && start == 0:
			return buf, malformed(audit.ReasonBadRequest, "empty request line")
		case len(line) == 2:
			return buf, nil
		}
		start = len(buf)
	}
}

// parseHead judges one complete head, as readBlock returns it. It is pure.
func parseHead(block []byte) (*head, error) {
	text, ok := strings.CutSuffix(string(block), "\r\n\r\n")
	if !ok {
		return nil, malformed(audit.ReasonBadRequest, "head has no end")
	}
	line, fields, _ := strings.Cut(text, "\r\n")
	h := &head{}
	if err := h.requestLine(line); err != nil {
		return nil, err
	}
	if err := h.fields(fields); err != nil {
		return nil, err
	}
	if err := h.framing(); err != nil {
		return nil, err
	}
	if err := h.target1(); err != nil {
		return nil, err
	}
	return h, h.connection()
}

// requestLine takes METHOD SP target SP HTTP/1.1 and nothing else. HTTP/1.0 is
// refused whatever it carries: every client this serves speaks 1.1, and one
// version leaves one way to frame a body.
func (h *head) requestLine(line string) error {
	method, rest, ok := strings.Cut(line, " ")
	if !ok {
		return malformed(audit.ReasonBadRequest, "request line has no target")
	}
	target, version, ok := strings.Cut(rest, " ")
	if !ok {
		return malformed(audit.ReasonBadRequest, "request line has no version")
	}
	if version != "HTTP/1.1" {
		if version == "HTTP/1.0" || version == "HTTP/2.0" {
			return &headError{http.StatusHTTPVersionNotSupported, audit.ReasonBadVersion, "version is not HTTP/1.1"}
		}
		return malformed(audit.ReasonBadVersion, "version is not HTTP/1.1")
	}
	if err := checkMethod(method); err != nil {
		return err
	}
	h.method, h.target = method, target
	return nil
}

// checkMethod admits upper-case tokens of at most 24 letters. CONNECT would be
// a tunnel, TRACE and TRACK would return the swapped header, PRI is the HTTP/2
// preface.
func checkMethod(method string) error {
	if method == "" || len(method) > 24 {
		return malformed(audit.ReasonBadMethod, "method length")
	}
	for i := range len(method) {
		if c := method[i]; (c < 'A' || c > 'Z') && c != '-' {
			return malformed(audit.ReasonBadMethod, "method is not an upper-case token")
		}
	}
	switch method {
	case "CONNECT", "TRACE", "TRACK", "PRI":
		return &headError{http.StatusMethodNotAllowed, audit.ReasonBadMethod, "method is never forwarded"}
	}
	return nil
}

// checkTarget admits visible ASCII without a fragment, beginning with "/".
func checkTarget(target string) error {
	if target == "" || target[0] != '/' {
		return malformed(audit.ReasonBadTarget, "target is not in origin-form")
	}
	for i := range len(target) {
		if c := target[i]; c <= ' ' || c >= 0x7f || c == '#' {
			return malformed(audit.ReasonBadTarget, "target has a byte that is not allowed")
		}
	}
	return nil
}

// target1 reduces an absolute-form target to origin-form. Its authority must be
// the Host field's, byte for byte but for case, so that one name is judged.
func (h *head) target1() error {
	if len(h.target) > 8 && strings.EqualFold(h.target[:8], "https://") {
		authority, path := h.target[8:], "/"
		if i := strings.IndexAny(authority, "/?"); i >= 0 {
			authority, path = authority[:i], authority[i:]
		}
		if !strings.EqualFold(authority, h.host) {
			return &headError{http.StatusMisdirectedRequest, audit.ReasonHostMismatch, "target and Host disagree"}
		}
		h.target = path
	}
	return checkTarget(h.target)
}

// fields reads the field lines, one Host among them.
func (h *head) fields(block string) (err error) {
	if h.header, err = parseFields(block, maxHeaderCount); err != nil {
		return err
	}
	return h.oneHost()
}

// parseFields reads field lines, limit at most. Space before the colon, folded
// lines, control bytes and bare line ends are refused (RFC 9112 sections 2.2,
// 5.1, 5.2).
func parseFields(block string, limit int) (http.Header, error) {
	count := strings.Count(block, "\r\n") + 1
	if count > limit {
		return nil, &headError{http.StatusRequestHeaderFieldsTooLarge, audit.ReasonHeaderLimit, "too many header fields"}
	}
	header := make(http.Header, count)
	values := make([]string, count) // one array for all single values
	for block != "" {
		var line string
		line, block, _ = strings.Cut(block, "\r\n")
		name, value, ok := strings.Cut(line, ":")
		if !ok || !validName(name) {
			return nil, malformed(audit.ReasonBadHeader, "header name")
		}
		value = strings.Trim(value, " \t")
		if !validValue(value) {
			return nil, malformed(audit.ReasonBadHeader, "header value")
		}
		key := textproto.CanonicalMIMEHeaderKey(name)
		if old, ok := header[key]; ok {
			header[key] = append(old, value)
			continue
		}
		values[0] = value
		header[key], values = values[:1:1], values[1:]
	}
	return header, nil
}

func (h *head) oneHost() error {
	hosts := h.header["Host"]
	if len(hosts) != 1 || hosts[0] == "" {
		return malformed(audit.ReasonBadHeader, "not exactly one Host")
	}
	h.host = hosts[0]
	delete(h.header, "Host")
	return nil
}

// tokenByte holds the bytes of RFC 9110 section 5.6.2.
var tokenByte = func() (t [256]bool) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		t[c] = true
	}
	return t
}()

func validName(name string) bool {
	for i := range len(name) {
		if !tokenByte[name[i]] {
			return false
		}
	}
	return name != ""
}

func validValue(value string) bool {
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// framing decides the body's length from Content-Length or Transfer-Encoding,
// never both, neither twice, and removes both: what goes upstream is framed
// anew (RFC 9112 section 6.3).
func (h *head) framing() error {
	lengths, codings := h.header["Content-Length"], h.header["Transfer-Encoding"]
	delete(h.header, "Content-Length")
	delete(h.header, "Transfer-Encoding")
	switch {
	case len(lengths)+len(codings) > 1:
		return malformed(audit.ReasonBadFraming, "more than one length")
	case len(codings) == 1 && codings[0] != "chunked":
		return malformed(audit.ReasonBadFraming, "transfer coding is not chunked")
	case len(codings) == 1:
		h.length = -1
	case len(lengths) == 1:
		n, err := parseLength(lengths[0])
		if err != nil {
			return err
		}
		h.length = n
	}
	return nil
}

// parseLength takes 1 to 18 decimal digits, which cannot overflow an int64.
func parseLength(text string) (int64, error) {
	if text == "" || len(text) > 18 {
		return 0, malformed(audit.ReasonBadFraming, "content length")
	}
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return 0, malformed(audit.ReasonBadFraming, "content length")
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, malformed(audit.ReasonBadFraming, "content length")
	}
	return n, nil
}

// connection reads Connection, Upgrade and Expect. The only protocol a
// connection may change to is WebSocket: h2c would be a tunnel that nobody
// judges.
func (h *head) connection() error {
	h.close = hasToken(h.header["Connection"], "close")
	if expect := h.header["Expect"]; len(expect) > 0 {
		if len(expect) > 1 || !strings.EqualFold(expect[0], "100-continue") {
			return &headError{http.StatusExpectationFailed, audit.ReasonBadHeader, "expectation is not 100-continue"}
		}
		h.expect = h.length != 0
		delete(h.header, "Expect")
	}
	upgrade := h.header["Upgrade"]
	if len(upgrade) == 0 {
		return nil
	}
	if len(upgrade) > 1 || !strings.EqualFold(upgrade[0], "websocket") {
		return malformed(audit.ReasonBadUpgrade, "upgrade is not websocket")
	}
	if h.method != http.MethodGet || h.length != 0 || !hasToken(h.header["Connection"], "upgrade") {
		return malformed(audit.ReasonBadUpgrade, "upgrade is not a websocket handshake")
	}
	h.upgrade = true
	return nil
}

// hasToken reports whether a comma-separated list holds token, in any case.
func hasToken(values []string, token string) bool {
	for _, value := range values {
		for part := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.Trim(part, " \t"), token) {
				return true
			}
		}
	}
	return false
}
