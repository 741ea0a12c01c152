// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"bytes"
	"strings"
	"time"
	"unicode"
)

// lines hands what a process of ours writes to stderr on, line by line. None
// of them gets the user's own stderr: where that is a terminal, it can be read
// from as well, keystrokes included.
type lines struct {
	from string // which process
	tell func(string)
	rest []byte
	told int

	every time.Duration // after which as much is told again; 0: never
	since time.Time
}

// The most that is told of one process, and of one line, in bytes: it ends on
// somebody's screen.
const (
	maxLines = 100
	maxLine  = 1024
)

func (l *lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		line, rest, found := bytes.Cut(l.rest, []byte("\n"))
		if !found && len(line) < maxLine {
			return len(p), nil
		}
		l.rest = rest
		l.line(line)
	}
}

func (l *lines) line(text []byte) {
	if now := time.Now(); l.every > 0 && now.Sub(l.since) >= l.every {
		l.told, l.since = 0, now
	}
	if l.told++; l.told > maxLines || len(text) == 0 {
		return
	}
	text = text[:min(len(text), maxLine)]
	l.tell(l.from + ": " + strings.Map(printable, strings.ToValidUTF8(string(text), "?")))
}

// printable keeps what writes from acting on a terminal.
func printable(r rune) rune {
	if r == '\t' || !unicode.IsPrint(r) {
		return ' '
	}
	return r
}
