// SPDX-License-Identifier: Apache-2.0

package mask

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// net catches what stands where no field is looked for.
type net struct {
	dropped []string
	have    credentials
}

// minDropped is the shortest value whose repetition is no accident.
const minDropped = 8

func newNet(dropped []string, have credentials) net {
	n := net{have: have}
	for _, value := range dropped {
		if value = strings.Trim(value, `"'`); len(value) >= minDropped {
			n.dropped = append(n.dropped, value)
		}
	}
	// The longest first: one may be part of another.
	slices.SortFunc(n.dropped, func(a, b string) int { return len(b) - len(a) })
	return n
}

var (
	userInfo  = regexp.MustCompile(`([a-zA-Z][a-zA-Z0-9+.-]*://)([^/\s"'<>@]+)@([^/\s"'<>@?#]*)`)
	keyShapes = regexp.MustCompile(policy.KeyShapes())
)

// clean takes out of a part that is to be kept what must not be there.
func (n net) clean(part string) string {
	var out strings.Builder
	done := 0
	for _, m := range userInfo.FindAllStringIndex(part, -1) {
		out.WriteString(n.cleanText(part[done:m[0]]))
		out.WriteString(n.cleanURL(part[m[0]:m[1]]))
		done = m[1]
	}
	out.WriteString(n.cleanText(part[done:]))
	return out.String()
}

func (n net) cleanText(part string) string {
	for _, value := range n.dropped {
		part = strings.ReplaceAll(part, value, "")
	}
	return keyShapes.ReplaceAllString(part, "")
}

// cleanURL replaces a URL's password, or a user name that is a key.
func (n net) cleanURL(match string) string {
	m := userInfo.FindStringSubmatch(match)
	user, _, hasPassword := strings.Cut(m[2], ":")
	if !hasPassword && !policy.LooksLikeKey(user) {
		return n.cleanText(match)
	}
	placeholder := n.have.find(policy.FileSecret{}, hostOf(m[3]))
	switch {
	case hasPassword && !policy.LooksLikeKey(user):
		return m[1] + user + ":" + placeholder + "@" + m[3]
	case placeholder != "":
		return m[1] + placeholder + "@" + m[3]
	}
	return m[1] + m[3]
}

// render writes the file with its edits, and everything between them cleaned.
func render(data []byte, edits []edit, n net) []byte {
	slices.SortStableFunc(edits, func(a, b edit) int {
		return cmp.Or(cmp.Compare(a.at.start, b.at.start), cmp.Compare(b.at.end, a.at.end))
	})
	var out strings.Builder
	done := 0
	for _, e := range edits {
		if e.at.end <= done && done > 0 {
			continue // inside what an edit before has replaced
		}
		out.WriteString(n.clean(string(data[done:max(done, e.at.start)])))
		out.WriteString(e.text)
		done = e.at.end
	}
	out.WriteString(n.clean(string(data[done:])))
	return []byte(out.String())
}
