// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Entry is a credential with what was recorded when it was stored. Only store:
// references have Hosts, Provider and Created.
type Entry struct {
	Value    Value
	Hosts    []string
	Provider string
	Created  time.Time
}

// reply is the JSON line of a helper's answer; the body is Entry.Value.
type reply struct {
	OK       bool      `json:"ok"`
	Error    string    `json:"error,omitempty"`
	Hosts    []string  `json:"hosts,omitempty"`
	Provider string    `json:"provider,omitempty"`
	Created  time.Time `json:"created,omitzero"`
	Length   int       `json:"length"`
}

// Refusal is the helper's own account of why there is no credential: one line
// that names the reference and holds nothing of the value.
type Refusal struct{ Text string }

func (e *Refusal) Error() string { return e.Text }

// maxRefusal cuts the text of a refusal, in bytes.
const maxRefusal = 1024

// ReadReply reads what one helper wrote, up to end of file: at most 64 KiB of
// header and MaxLength bytes of value, which go straight into locked memory
// and are checked again. It returns a *Refusal when the helper had no
// credential, and ErrFrame when it died or wrote something else. Time is the
// caller's to bound, by a deadline on the pipe.
func ReadReply(r io.Reader) (Entry, error) { return readReply(r, Check) }

// ReadPassword is ReadReply for a request that said Env.AnyLength.
func ReadPassword(r io.Reader) (Value, error) {
	e, err := readReply(r, CheckField)
	return e.Value, err
}

func readReply(r io.Reader, check func(Value) error) (Entry, error) {
	var h reply
	if err := readHeader(r, &h, maxHeader); err != nil {
		return Entry{}, fmt.Errorf("read credential: %w", err)
	}
	if !h.OK {
		return Entry{}, &Refusal{oneLine(h.Error, maxRefusal)}
	}
	if len(h.Hosts) > MaxHosts || slices.ContainsFunc(h.Hosts, func(host string) bool { return !plausibleHost(host) }) {
		return Entry{}, fmt.Errorf("read credential: %w: hosts", ErrFrame)
	}
	v, err := readBody(r, h.Length)
	if err == nil {
		err = readEnd(r)
	}
	if err == nil {
		err = check(v)
	}
	if err != nil {
		v.Wipe()
		return Entry{}, fmt.Errorf("read credential: %w", err)
	}
	return Entry{v, h.Hosts, h.Provider, h.Created}, nil
}

// writeReply is the other end of ReadReply.
func writeReply(w io.Writer, e Entry, err error) error {
	if err != nil {
		return writeFrame(w, reply{Error: oneLine(err.Error(), maxRefusal)}, nil)
	}
	body := e.Value.Reveal()
	return writeFrame(w, reply{
		OK: true, Hosts: e.Hosts, Provider: e.Provider, Created: e.Created, Length: len(body),
	}, body)
}

// oneLine cuts text and replaces what a terminal or a log could stumble over.
func oneLine(text string, limit int) string {
	if len(text) > limit {
		text = text[:limit] + "…"
	}
	return strings.Map(func(r rune) rune {
		if isControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}
