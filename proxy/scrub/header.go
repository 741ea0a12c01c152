// SPDX-License-Identifier: Apache-2.0

package scrub

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
)

// Header scrubs every value of header, in place. A field whose name holds a
// credential is removed: names change their case on the way, so that there the
// case does not count.
func (s *Scrubber) Header(header http.Header) {
	var scratch []byte
	scrubbed := func(text string) bool {
		if len(text) < MinLength {
			return false
		}
		scratch = append(scratch[:0], text...)
		s.scan(scratch, true)
		return string(scratch) != text
	}
	for name, values := range header {
		if scrubbed(name) || s.named(name) {
			delete(header, name)
			continue
		}
		for i, value := range values {
			if scrubbed(value) {
				values[i] = string(scratch)
			}
		}
	}
	clear(scratch[:cap(scratch)])
}

// named reports whether name holds a credential as it is, in any case.
func (s *Scrubber) named(name string) bool {
	text, patterns := []byte(name), s.table().patterns
	for i := range patterns {
		p := &patterns[i]
		for n := len(p.values); p.kind == asOctets && n <= len(text); n++ {
			if bytes.EqualFold(text[n-len(p.values):n], p.values) {
				return true
			}
		}
	}
	return false
}

// messageCodings are the fields by which gRPC and Connect say how the messages
// of a stream are compressed, each by itself.
var messageCodings = []string{"Grpc-Encoding", "Connect-Content-Encoding"}

// Messages refuses a response whose messages are compressed one by one: they
// cannot be read through. Messages that are not need no care, since a
// replacement keeps their lengths. Together with [Requested] no server that
// keeps to its protocol sends such a response.
func Messages(header http.Header) error {
	for _, name := range messageCodings {
		for _, value := range header[name] {
			if value != "" && value != "identity" {
				return fmt.Errorf("read messages: %w %.40q", ErrUnknownCoding, value)
			}
		}
	}
	return nil
}

// Requested takes out of a request's header what asks for codings that cannot
// be read here, or not at the moment: while budget is short those that take
// little are left. budget may be nil.
func Requested(header http.Header, budget *Budget) {
	for _, name := range []string{"Grpc-Accept-Encoding", "Connect-Accept-Encoding", "Available-Dictionary", "Dictionary-Id"} {
		delete(header, name)
	}
	values, ok := header["Accept-Encoding"]
	if !ok {
		return
	}
	var kept []string
	for _, value := range values {
		for item := range strings.SplitSeq(value, ",") {
			name, _, _ := strings.Cut(item, ";")
			if name = strings.ToLower(strings.Trim(name, " \t")); budget.asks(decoders[name]) || name == "identity" {
				kept = append(kept, strings.Trim(item, " \t"))
			}
		}
	}
	if len(kept) == 0 {
		kept = []string{"identity"} // no field at all would allow any
	}
	header["Accept-Encoding"] = []string{strings.Join(kept, ", ")}
}
