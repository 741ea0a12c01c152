// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what the goldens of testdata get into them")

// A golden is a policy, flags, a store, and questions with their answers:
//
//	-- policy.yaml --          the policy; without it there is none
//	-- flags --                one "--with X", "--allow X" or "--profile X" a line,
//	                           or "registry HOST PORT" for one that was found
//	-- store --                one "NAME PROVIDER|- HOST…" a line
//	-- verdicts --             one "QUESTION -> ANSWER" a line, or "# …", or empty
//	-- error --                instead of verdicts: the error of Parse, Resolve or Compile
//
// Questions:
//
//	name HOST
//	names
//	connect HOST PORT
//	address ADDRESS:PORT
//	target HOST PORT
//	METHOD https|http://HOST[:PORT]/PATH [with CREDENTIAL] [foreign]
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no goldens: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { golden(t, file) })
	}
}

// section is one file of a txtar archive.
type section struct{ name, text string }

// readArchive reads the txtar format: what stands before the first marker, and
// the files.
func readArchive(t *testing.T, name string) (comment string, files []section) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		marker, ok := strings.CutPrefix(strings.TrimSpace(line), "-- ")
		marker, ends := strings.CutSuffix(marker, " --")
		switch {
		case ok && ends:
			files = append(files, section{name: marker})
		case len(files) == 0:
			comment += line
		default:
			files[len(files)-1].text += line
		}
	}
	return comment, files
}

func golden(t *testing.T, name string) {
	comment, files := readArchive(t, name)
	parts := make(map[string]string)
	for _, f := range files {
		parts[f.name] = f.text
	}
	rules, session, err := rulesOf(parts)
	if _, told := parts["error"]; err != nil && !told {
		t.Fatal(err)
	}
	got := map[string]string{"error": describe(err), "verdicts": verdicts(t, rules, session, parts["verdicts"])}
	out := comment
	for _, f := range files {
		if want, judged := got[f.name]; judged && want != f.text {
			if !*update {
				t.Errorf("%s: got\n%s\nwant\n%s", f.name, want, f.text)
			}
			f.text = want
		}
		out += "-- " + f.name + " --\n" + f.text
	}
	if *update {
		if err := os.WriteFile(name, []byte(out), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// verdicts answers every question of text again.
func verdicts(t *testing.T, r *Rules, s *Session, text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		question, _, _ := strings.Cut(strings.TrimSpace(line), " -> ")
		if question != "" && question[0] != '#' {
			question += " -> " + answer(t, r, s, question)
		}
		out.WriteString(question + "\n")
	}
	return out.String()
}

func describe(err error) string {
	if err == nil {
		return "no error\n"
	}
	text := err.Error() + "\n"
	var parse *ParseError
	if errors.As(err, &parse) {
		text += "excerpt: " + parse.Excerpt + "\n"
	}
	var resolve *ResolveError
	if errors.As(err, &resolve) {
		text += "hint: " + resolve.Hint + "\n"
	}
	return text
}

func rulesOf(parts map[string]string) (*Rules, *Session, error) {
	var file *File
	if text, ok := parts["policy.yaml"]; ok {
		var err error
		if file, err = Parse("policy.yaml", []byte(text)); err != nil {
			return nil, nil, err
		}
	}
	var flags Flags
	profile := NoProfile
	for line := range strings.Lines(parts["flags"]) {
		word, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch word {
		case "--with":
			flags.With = append(flags.With, value)
		case "--allow":
			flags.Allow = append(flags.Allow, value)
		case "--profile":
			profile = value
		case "registry":
			host, port, _ := strings.Cut(value, " ")
			number, err := strconv.ParseUint(port, 10, 16)
			if err != nil {
				return nil, nil, err
			}
			flags.Registries = append(flags.Registries, Endpoint{Host: host, Port: uint16(number), Rule: "~/.rc"})
		}
	}
	var err error
	if flags.Profile, err = Choose(nil, profile, ""); err != nil {
		return nil, nil, err
	}
	store := make(shelf)
	for line := range strings.Lines(parts["store"]) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		store[name] = rest
	}
	s, err := Resolve(file, flags, store.stored)
	if err != nil {
		return nil, nil, err
	}
	r, err := Compile(s)
	return r, s, err
}

func answer(t *testing.T, r *Rules, s *Session, question string) string {
	words := strings.Fields(question)
	number := func(i int) uint16 {
		n, err := strconv.ParseUint(words[i], 10, 16)
		if err != nil {
			t.Fatal(err)
		}
		return uint16(n)
	}
	switch words[0] {
	case "name":
		return strconv.FormatBool(r.Name(words[1]))
	case "names":
		names, closed := r.Names()
		return fmt.Sprintf("%s closed=%v", strings.Join(names, " "), closed)
	case "connect":
		return showConnect(r.Connect(words[1], number(2)))
	case "address":
		return showConnect(r.Address(netip.MustParseAddrPort(words[1])))
	case "target":
		target := r.Target(words[1], number(2))
		return fmt.Sprintf("%q %v", target.Connect, target.Networks)
	}
	return showVerdict(r.Request(requestOf(t, s, words)))
}

func showConnect(c Connect) string {
	if !c.Allow {
		return "deny " + c.Reason
	}
	out := "allow " + string(c.Protocol)
	if c.Passthrough {
		out += " passthrough"
	}
	for _, cred := range c.Credentials {
		out += " " + cred.Name
	}
	return out + " " + c.Rule
}

func showVerdict(v Verdict) string {
	if v.Allow {
		return "allow " + v.Rule
	}
	out := fmt.Sprintf("%d %s %s", v.Status, v.Reason, v.Rule)
	if v.Challenge != "" {
		out += " challenge " + v.Challenge
	}
	return strings.TrimSpace(out)
}

func requestOf(t *testing.T, s *Session, words []string) Request {
	scheme, rest, ok := strings.Cut(words[1], "://")
	if !ok {
		t.Fatalf("%q is no question", strings.Join(words, " "))
	}
	at := strings.IndexByte(rest, '/')
	host, port, hasPort := strings.Cut(rest[:at], ":")
	q := Request{Host: host, Port: map[string]uint16{"https": 443, "http": 80}[scheme], Method: words[0], Path: rest[at:]}
	if hasPort {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			t.Fatal(err)
		}
		q.Port = uint16(n)
	}
	for i := 2; i < len(words); i++ {
		switch words[i] {
		case "foreign":
			q.Foreign = true
		case "with":
			i++
			q.Credential = &Credential{Name: words[i]} // of another session, unless it is found
			for k := range s.Credentials {
				if s.Credentials[k].Name == words[i] {
					q.Credential = &s.Credentials[k]
				}
			}
		}
	}
	q.Bare = q.Credential == nil && !q.Foreign
	return q
}
