// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

const (
	// MinLength is the fewest bytes a credential may have. A shorter one can
	// be guessed, and cannot be searched for in responses without striking
	// innocent text. It does not promise that a placeholder of 128 bits fits
	// in the same length: base62 needs 22 letters for that, and a placeholder
	// for a shorter credential is longer than it.
	MinLength = 16

	// MaxLength is the most bytes a credential may have, 64 KiB: what servers
	// take as a whole header section at the very most, and the capacity of a
	// pipe.
	MaxLength = 64 << 10
)

// The refusals of [Check].
var (
	ErrEmpty    = errors.New("credential is empty")
	ErrShort    = fmt.Errorf("credential is shorter than %d bytes", MinLength)
	ErrLong     = fmt.Errorf("credential is longer than %d bytes", MaxLength)
	ErrNewline  = errors.New("credential holds a line break (CR or LF)")
	ErrNUL      = errors.New("credential holds a NUL byte")
	ErrControl  = errors.New("credential holds a control character")
	ErrSpace    = errors.New("credential begins or ends with a space")
	ErrEncoding = errors.New("credential is not valid UTF-8")
)

// Check refuses what cannot travel in an HTTP field as it is, or is too short
// to be a secret. Which byte was wrong is not told.
func Check(v Value) error {
	err := CheckField(v)
	if err == nil && v.Len() < MinLength {
		err = ErrShort
	}
	return err
}

// CheckField is Check for a value of any length: a password that is never
// searched for, because no answer can hold it.
func CheckField(v Value) error {
	b := v.Reveal()
	switch {
	case len(b) == 0:
		return ErrEmpty
	case len(b) > MaxLength:
		return ErrLong
	case bytes.ContainsAny(b, "\r\n"):
		return ErrNewline
	case bytes.IndexByte(b, 0) >= 0:
		return ErrNUL
	case !utf8.Valid(b):
		return ErrEncoding
	case bytes.ContainsFunc(b, isControl):
		return ErrControl
	case b[0] == ' ' || b[len(b)-1] == ' ':
		// RFC 9110, section 5.5: recipients strip white space around a field
		// value, so upstream would see another credential.
		return ErrSpace
	}
	return nil
}

// isControl tells C0 (with tab), DEL and C1.
func isControl(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }

// tidy takes away what editors and programs add around a value.
func (v Value) tidy() {
	v.trimNewline()
	v.compactJSON()
}

// trimNewline cuts exactly one line end, LF or CRLF, which editors and
// programs add. A second one is for Check to refuse.
func (v Value) trimNewline() {
	b := v.Reveal()
	if n := len(b); n > 0 && b[n-1] == '\n' {
		b = b[:n-1]
		if n > 1 && b[n-2] == '\r' {
			b = b[:n-2]
		}
		v.m.length = len(b)
	}
}

// compactJSON takes the white space out of a value that is a JSON object, as
// key files are: it has no meaning there, and line breaks are refused.
func (v Value) compactJSON() {
	b := v.Reveal()
	if len(b) == 0 || b[0] != '{' || !json.Valid(b) {
		return
	}
	n, text, escaped := 0, false, false
	for _, c := range b {
		if !text && bytes.IndexByte([]byte(" \t\r\n"), c) >= 0 {
			continue
		}
		switch {
		case escaped:
			escaped = false
		case text && c == '\\':
			escaped = true
		case c == '"':
			text = !text
		}
		b[n] = c
		n++
	}
	clear(b[n:])
	v.m.length = n
}
