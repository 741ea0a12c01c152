// SPDX-License-Identifier: Apache-2.0

package mask

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// span is a part of a file, in bytes.
type span struct{ start, end int }

// field is one value of a file.
type field struct {
	path  []string
	value string // as the tools read it; of a container nothing
	kind  fieldKind
	at    span // of the value, quotes and all
	entry span // of what goes with it where a format leaves fields out
}

// fieldKind tells what a value is.
type fieldKind int

const (
	text      fieldKind = iota
	other               // a number, a boolean, a null
	container           // holds further fields, which are in the list, too
	opaque              // holds further fields, which nobody has looked at; its value is as it is written
)

// format is one way to write fields down.
type format struct {
	// scan lists every field of a file, or refuses it.
	scan func(data []byte) ([]field, error)
	// write spells value in place of f.
	write func(f field, value string) string
	// without spells f's absence and says what it takes the place of.
	without func(f field) (string, span)
}

var formats = map[string]format{
	policy.FormatINI:            {scanINI, plain, entryGone},
	policy.FormatNpmrc:          {scanNpmrc, plain, entryGone},
	policy.FormatNetrc:          {scanNetrc, plain, entryGone},
	policy.FormatGitCredentials: {scanGitCredentials, plain, entryGone},
	policy.FormatText:           {scanText, plain, valueGone},
	policy.FormatXML:            {scanXML, plain, valueGone},
	policy.FormatJSON:           {scanJSON, quoted, valueEmpty},
	policy.FormatYAML:           {scanYAML, quoted, valueEmpty},
	policy.FormatTOML:           {scanTOML, quoted, textEmpty},
}

// A placeholder holds letters, digits and -_.~+=/: alone (package policy), which
// are themselves in every format.
func plain(_ field, value string) string  { return value }
func quoted(_ field, value string) string { return `"` + value + `"` }

func entryGone(f field) (string, span) { return "", f.entry }
func valueGone(f field) (string, span) { return "", f.at }

// valueEmpty leaves the key: for most tools an empty login is no login, and a
// missing key is a broken file.
func valueEmpty(f field) (string, span) {
	if f.kind == text {
		return `""`, f.at
	}
	return "null", f.at
}

// textEmpty is for TOML, which has no null.
func textEmpty(f field) (string, span) { return `""`, f.at }

// secret is a field's description with what stands there in this session.
type secret struct {
	policy.FileSecret
	declared bool // by the policy, for a file that may lack it
}

// credentials are those of the session, for the fields.
type credentials struct {
	all          []policy.Credential
	placeholders map[string]string // by name
}

// find returns the placeholder for a field, "" for none.
func (c credentials) find(s policy.FileSecret, host string) string {
	for i := range c.all {
		have := &c.all[i]
		var fits bool
		switch {
		case s.Credential != "":
			fits = have.Name == s.Credential
		case s.Provider != "":
			fits = have.Provider == s.Provider
		default:
			fits = host != "" && have.BoundTo(host)
		}
		if fits {
			return part(have, c.placeholders[have.Name], s.Part)
		}
	}
	return ""
}

// part is what of a placeholder stands in a field: a key pair's are joined by
// colons, and stand in fields of their own.
func part(c *policy.Credential, placeholder string, number int) string {
	if !c.Signs() {
		return placeholder
	}
	parts := strings.Split(placeholder, ":")
	if number < 1 || number > len(parts) {
		return ""
	}
	return parts[number-1]
}

// maxEdits bounds what is taken out of a file: no tool has that many logins, and
// each is looked for again in the rest of the file.
const maxEdits = 1000

var errMany = fmt.Errorf("more than %d credentials", maxEdits)

// errEncoding refuses text that two readers may read differently.
var errEncoding = errors.New("not UTF-8, or with a NUL byte")

// outcome is what became of a file.
type outcome struct {
	copy    []byte
	changed bool     // else the copy is the file
	absent  []string // fields that the policy names and the file lacks
	login   string   // provider of the login in it; "" where it has none
}

// apply makes the copy of a file.
func apply(name string, data []byte, secrets []secret, have credentials) (outcome, error) {
	f, known := formats[name]
	if !known {
		return outcome{}, fmt.Errorf("format %q is not known", name)
	}
	if !utf8.Valid(data) || slices.Contains(data, 0) {
		return outcome{}, errEncoding
	}
	if len(strings.TrimSpace(string(data))) == 0 {
		return outcome{copy: data}, nil
	}
	fields, err := f.scan(data)
	if err != nil {
		return outcome{}, err
	}
	var edits []edit
	var dropped []string
	found := make([]bool, len(secrets))
	out := outcome{}
	for _, at := range fields {
		i, host := match(secrets, at)
		if i < 0 || at.kind == text && at.value == "" || isReference(name, at.value) {
			continue
		}
		if found[i] = true; len(edits) == maxEdits {
			return outcome{}, errMany
		}
		if login, ok := strings.CutSuffix(secrets[i].Provider, policy.LoginRefreshField); ok && at.kind == text {
			out.login = login
		}
		edits = append(edits, f.edit(at, secrets[i].FileSecret, host, have))
		dropped = append(dropped, at.value, string(data[at.at.start:at.at.end]))
	}
	for i, s := range secrets {
		if s.declared && !found[i] {
			out.absent = append(out.absent, "/"+strings.Join(s.Field, "/"))
		}
	}
	out.copy = render(data, edits, newNet(dropped, have))
	out.changed = string(out.copy) != string(data)
	return out, nil
}

// isReference tells npm's own way to leave a token to the environment.
func isReference(format, value string) bool {
	name, ok := strings.CutPrefix(value, "${")
	return ok && format == policy.FormatNpmrc && strings.IndexByte(name, '}') == len(name)-1
}

// match returns the first secret that f is, and the host that it is for.
func match(secrets []secret, f field) (int, string) {
	for i, s := range secrets {
		if f.kind == opaque && mayHold(s.Field, f) {
			return i, ""
		}
		wild := len(s.Field) > 0 && strings.Contains(s.Field[len(s.Field)-1], "*")
		if wild && f.kind != text {
			continue // a pattern is a guess, and credentials are text
		}
		if host, ok := matchPath(s.Field, f.path); ok {
			return i, host
		}
	}
	return -1, ""
}

// matchPath matches a path against a pattern, see [policy.FileSecret].
func matchPath(pattern, path []string) (host string, ok bool) {
	if len(pattern) == 0 {
		return "", len(path) == 0
	}
	if pattern[0] == "**" {
		for skip := 0; skip <= len(path); skip++ {
			if host, ok := matchPath(pattern[1:], path[skip:]); ok {
				return host, true
			}
		}
		return "", false
	}
	if len(path) == 0 {
		return "", false
	}
	if pattern[0] != "{host}" && !matchStep(pattern[0], path[0]) {
		return "", false
	}
	host, ok = matchPath(pattern[1:], path[1:])
	if pattern[0] == "{host}" {
		host = hostOf(path[0])
	}
	return host, ok
}

// mayHold tells whether what nobody has looked at may hold such a field. A list
// of plain values holds no names.
func mayHold(pattern []string, f field) bool {
	if strings.Contains(f.value, "{") {
		return reaches(pattern, f.path)
	}
	_, ok := matchPath(pattern, append(slices.Clone(f.path), "0"))
	return ok
}

// reaches tells whether a pattern could match a field at or below path.
func reaches(pattern, path []string) bool {
	for i, step := range path {
		if i >= len(pattern) {
			return false
		}
		if pattern[i] == "**" {
			return true
		}
		if pattern[i] != "{host}" && !matchStep(pattern[i], step) {
			return false
		}
	}
	return true
}

// matchStep matches one step. Case does not count: Go's decoders, among others,
// do not mind it.
func matchStep(pattern, step string) bool {
	pattern, step = strings.ToLower(pattern), strings.ToLower(step)
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == step
	}
	rest, ok := strings.CutPrefix(step, parts[0])
	if !ok {
		return false
	}
	last := parts[len(parts)-1]
	for _, part := range parts[1 : len(parts)-1] {
		_, after, found := strings.Cut(rest, part)
		if !found {
			return false
		}
		rest = after
	}
	return strings.HasSuffix(rest, last)
}

// hostOf takes the host out of what tools call a registry: "//HOST/path/",
// "https://HOST:port/v1/", "HOST".
func hostOf(name string) string {
	if _, rest, found := strings.Cut(name, "//"); found {
		name = rest
	}
	name, _, _ = strings.Cut(name, "/")
	if at := strings.LastIndexByte(name, '@'); at >= 0 {
		name = name[at+1:]
	}
	if host, port, found := strings.Cut(name, ":"); found && strings.Trim(port, "0123456789") == "" {
		name = host
	}
	return name
}

// edit is a change to a file.
type edit struct {
	at   span
	text string
}

// edit puts the session's placeholder into a field, or takes the field away.
func (f format) edit(at field, s policy.FileSecret, host string, have credentials) edit {
	placeholder := have.find(s, host)
	if at.kind == text && placeholder != "" {
		if value, ok := encode(s.Encoding, at.value, placeholder); ok {
			return edit{at.at, f.write(at, value)}
		}
	}
	gone, where := f.without(at)
	return edit{where, gone}
}

// encode writes the placeholder as the real value was written; not where that
// is something else than it should be.
func encode(encoding, real, placeholder string) (string, bool) {
	switch encoding {
	case policy.EncodingBase64:
		return base64.StdEncoding.EncodeToString([]byte(placeholder)), true
	case policy.EncodingBasic:
		decoded, err := base64.StdEncoding.DecodeString(real)
		user, _, found := strings.Cut(string(decoded), ":")
		if err != nil || !found {
			return "", false
		}
		return base64.StdEncoding.EncodeToString([]byte(user + ":" + placeholder)), true
	}
	return placeholder, true
}
