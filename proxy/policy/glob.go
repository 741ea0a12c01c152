// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// anyPath is the glob that admits every path, the ambiguous ones too.
const anyPath = "*"

// glob is a compiled path glob. As in gitignore: "*" stands for any characters
// of one segment, "**" as a whole segment for any number of segments, and at
// the end for everything inside ("/v1/**" is not "/v1"). Elsewhere two
// asterisks are one. A segment "*" wants at least one character.
type glob struct {
	any      bool
	segments []string // globStar for "**"
}

const (
	globStar = "**"
	maxGlob  = 1024 // octets
)

// compileGlob refuses what gitignore has and a reader may take for something
// else here: "?", classes, escapes; and what no plain path can match.
func compileGlob(text string) (*glob, error) {
	if text == anyPath {
		return &glob{any: true}, nil
	}
	if !strings.HasPrefix(text, "/") {
		return nil, errors.New(`glob: want "*" alone or a path that begins with a slash`)
	}
	if len(text) > maxGlob {
		return nil, errors.New("glob: too long")
	}
	if strings.ContainsAny(text, `?[]{}\#`) || hasEscape(text) {
		return nil, errors.New("glob: only * and ** are special, and the path is matched decoded and without its query")
	}
	if judgePath(text) != plain || !utf8.ValidString(text) {
		return nil, errors.New("glob: an empty or dot segment, a control character or bad UTF-8 matches no request")
	}
	g := &glob{}
	for segment := range strings.SplitSeq(text[1:], "/") {
		if segment != globStar {
			segment = squeeze(segment)
		}
		g.segments = append(g.segments, segment)
	}
	return g, nil
}

// squeeze makes one asterisk of several in a row.
func squeeze(segment string) string {
	for strings.Contains(segment, "**") {
		segment = strings.ReplaceAll(segment, "**", "*")
	}
	return segment
}

// match judges a plain decoded path. It takes time in the order of segments
// times globs and allocates nothing: of several "**" only the last needs to be
// tried again, because the ones before it matched as early as they could.
func (g *glob) match(path string) bool {
	if g.any {
		return true
	}
	rest, more := path[1:], true // rest is what is left; more: a segment is left
	at := 0
	star, starRest, starMore := -1, "", false
	for more {
		var segment, after string
		var following bool
		segment, after, following = strings.Cut(rest, "/")
		switch {
		case at < len(g.segments) && g.segments[at] == globStar:
			if at == len(g.segments)-1 {
				return true
			}
			star, starRest, starMore = at, rest, more
			at++
			continue
		case at < len(g.segments) && matchSegment(g.segments[at], segment):
			at++
			rest, more = after, following
			continue
		case star < 0 || !starMore:
			return false
		}
		_, starRest, starMore = strings.Cut(starRest, "/")
		at, rest, more = star+1, starRest, starMore
	}
	return at == len(g.segments)
}

// matchSegment matches one segment against text with asterisks.
func matchSegment(pattern, segment string) bool {
	if pattern == "*" {
		return segment != ""
	}
	p, s, star, starS := 0, 0, -1, 0
	for s < len(segment) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, starS = p, s
			p++
		case p < len(pattern) && pattern[p] == segment[s]:
			p++
			s++
		case star < 0:
			return false
		default:
			starS++
			p, s = star+1, starS
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
