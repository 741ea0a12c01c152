// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// MaxLine bounds a record's line in bytes, newline included: every capped byte
// may become six (\u00xx), plus keys and numbers.
const MaxLine = 32 << 10

// appendRecord appends r as one line without its newline. Keys are in the
// order of [Record]; the same record always gives the same bytes.
func appendRecord(b []byte, r *Record) []byte {
	b = append(b, `{"v":`...)
	b = strconv.AppendInt(b, int64(r.V), 10)
	b = append(b, `,"time":"`...)
	b = appendTime(b, r.Time)
	b = append(b, '"')
	b = appendString(b, "id", r.ID, capID)
	b = appendString(b, "session", r.Session, capID)
	b = appendUint(b, "seq", r.Seq)
	b = appendOptional(b, "prev", r.Prev, capPrev)
	if r.PID != 0 {
		b = appendUint(b, "pid", uint64(r.PID))
		b = appendString(b, "comm", r.Comm, capComm)
		b = appendUint(b, "uid", uint64(r.UID))
	}
	b = appendString(b, "kind", string(r.Kind), capLabel)
	b = appendOptional(b, "name", r.Name, capName)
	b = appendOptional(b, "address", r.Address, capAddress)
	b = appendCount(b, "port", uint64(r.Port))
	b = appendOptional(b, "proto", r.Proto, capProto)
	b = appendOptional(b, "method", r.Method, capMethod)
	b = appendOptional(b, "path", withoutQuery(r.Path), capPath)
	b = appendOptional(b, "credential", r.Credential, capLabel)
	b = appendOptional(b, "position", r.Position, capLabel)
	b = appendString(b, "verdict", string(r.Verdict), capLabel)
	b = appendString(b, "reason", string(r.Reason), capLabel)
	b = appendOptional(b, "rule", r.Rule, capRule)
	b = appendCount(b, "status", uint64(max(r.Status, 0)))
	b = appendCount(b, "bytes_in", r.BytesIn)
	b = appendCount(b, "bytes_out", r.BytesOut)
	b = appendMS(b, r.MS)
	b = appendCount(b, "suppressed", r.Suppressed)
	return append(b, '}')
}

// appendTime writes RFC 3339 in UTC. Years outside 0–9999 have no RFC 3339
// form; such a time can only come from a hostile pipe and becomes year 1.
func appendTime(b []byte, t time.Time) []byte {
	t = t.UTC()
	if year := t.Year(); year < 0 || year > 9999 {
		t = time.Time{}
	}
	return t.AppendFormat(b, time.RFC3339Nano)
}

func appendKey(b []byte, key string) []byte {
	b = append(b, ',', '"')
	b = append(b, key...)
	return append(b, '"', ':')
}

func appendUint(b []byte, key string, n uint64) []byte {
	return strconv.AppendUint(appendKey(b, key), n, 10)
}

func appendCount(b []byte, key string, n uint64) []byte {
	if n == 0 {
		return b
	}
	return appendUint(b, key, n)
}

func appendMS(b []byte, ms float64) []byte {
	if !(ms > 0) { // NaN too
		return b
	}
	ms = math.Round(min(ms, maxDuration)*1000) / 1000
	if ms == 0 {
		return b
	}
	return strconv.AppendFloat(appendKey(b, "ms"), ms, 'f', -1, 64)
}

func appendOptional(b []byte, key, text string, limit int) []byte {
	if text == "" {
		return b
	}
	return appendString(b, key, text, limit)
}

func appendString(b []byte, key, text string, limit int) []byte {
	b = append(appendKey(b, key), '"')
	if len(text) <= limit {
		b = appendEscaped(b, text)
	} else {
		b = append(appendEscaped(b, text[:cutAt(text, limit)]), ellipsis...)
	}
	return append(b, '"')
}

// appendEscaped writes the inside of a JSON string. Whatever is not printable
// is escaped, not only what JSON demands: C1 controls, DEL, line separators and
// direction overrides act on terminals and viewers.
func appendEscaped(b []byte, text string) []byte {
	start := 0
	for i := 0; i < len(text); {
		c := text[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' && c != 0x7f {
				i++
				continue
			}
			b = append(b, text[start:i]...)
			if c == '"' || c == '\\' {
				b = append(b, '\\', c)
			} else {
				b = appendUnit(b, rune(c))
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		if (r != utf8.RuneError || size > 1) && unicode.IsPrint(r) {
			i += size
			continue
		}
		b = append(b, text[start:i]...)
		b = appendRune(b, r)
		i += size
		start = i
	}
	return append(b, text[start:]...)
}

func appendRune(b []byte, r rune) []byte {
	if r < 0x10000 {
		return appendUnit(b, r)
	}
	r -= 0x10000
	return appendUnit(appendUnit(b, 0xd800+r>>10), 0xdc00+r&0x3ff)
}

func appendUnit(b []byte, unit rune) []byte {
	const hex = "0123456789abcdef"
	return append(b, '\\', 'u', hex[unit>>12&15], hex[unit>>8&15], hex[unit>>4&15], hex[unit&15])
}

const ellipsis = "…"

// cut returns text, cut to at most limit bytes with a mark when it is longer.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return text[:cutAt(text, limit)] + ellipsis
}

// cutAt returns where to cut a text longer than limit so that the mark fits
// and no character is split.
func cutAt(text string, limit int) int {
	end := limit - len(ellipsis)
	for back := 0; back < utf8.UTFMax-1 && end > 0 && !utf8.RuneStart(text[end]); back++ {
		end--
	}
	return end
}

// withoutQuery is the backstop for the rule that a query, where keys are
// found, is never logged.
func withoutQuery(path string) string {
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		return path[:i]
	}
	return path
}
