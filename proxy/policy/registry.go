// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Registry says how to find out where this user's package manager reads
// packages from. Its configuration is read first. What it uses when that says
// nothing is in its code, so then it is asked: Ask is run, sealed off like an
// agent, for the programs are mostly in places that their user may write
// (~/.nvm, ~/.local/bin).
type Registry struct {
	Ask      []string // the command that prints it; none: it has no such command
	After    string   // only the first URL after this text of the output counts; "" is all of them
	Files    []string // its configuration of system and user, "~/x" or absolute; never a project's
	Replaces []string // settings that stand in for the answer, as path.Match patterns; "$NAME" is a variable
	Adds     []string // settings that stand beside it
	Rule     string   // "file:line"
}

// Setting is one line of a configuration: "SECTION.KEY", or "KEY" outside of
// sections, or "$NAME" for a variable of the environment.
type Setting struct {
	Where string // the file, as a person would name it, or "the environment"
	Key   string
	Value string
}

// Endpoint is one place that a package manager reads from, over https.
type Endpoint struct {
	Host string // canonical
	Port uint16
	Rule string // where that is written
}

// Reads reports whether the tool takes registries from a variable.
func (g *Registry) Reads(variable string) bool {
	return g.concerns(g.Replaces, "$"+variable) || g.concerns(g.Adds, "$"+variable)
}

// Unsaid reports whether none of the settings stands in for the answer.
func (g *Registry) Unsaid(settings []Setting) bool {
	return !slices.ContainsFunc(settings, func(s Setting) bool { return g.concerns(g.Replaces, s.Key) })
}

// answered is the key of what a tool answered: no tool's own, for they are
// words.
const answered = "its answer"

// Answer is the setting that output, which Ask printed, amounts to.
func (g *Registry) Answer(output string) Setting {
	value := output
	if g.After != "" {
		_, value, _ = strings.Cut(output, g.After)
		value = urls.FindString(value)
	}
	return Setting{Where: strings.Join(g.Ask, " "), Key: answered, Value: value}
}

// Endpoints returns what the settings lead to. A problem is one line about a
// setting that leads nowhere we go; it does not quote the value, which may hold
// a password.
func (g *Registry) Endpoints(settings []Setting) (found []Endpoint, problems []string) {
	for _, s := range settings {
		if s.Key != answered && !g.concerns(g.Replaces, s.Key) && !g.concerns(g.Adds, s.Key) {
			continue
		}
		for _, text := range urls.FindAllString(s.Value, -1) {
			e, err := endpoint(text, s.Where)
			if err != nil {
				problems = append(problems, fmt.Sprintf("%s: %s: %v", s.Where, s.Key, err))
				continue
			}
			found = append(found, e)
		}
	}
	slices.SortStableFunc(found, func(a, b Endpoint) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Port, b.Port))
	})
	return slices.CompactFunc(found, func(a, b Endpoint) bool { return a.Host == b.Host && a.Port == b.Port }), problems
}

// concerns reports whether a pattern covers key. Tools take "-" for "_" and,
// some of them, upper case for lower.
func (g *Registry) concerns(patterns []string, key string) bool {
	fold := func(text string) string { return strings.ReplaceAll(strings.ToLower(text), "_", "-") }
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		ok, err := path.Match(fold(pattern), fold(key))
		return ok && err == nil
	})
}

// urls finds the URLs of a value, whatever the tool separates them with.
// "sparse+" and "registry+" are cargo's, before the URL proper.
var urls = regexp.MustCompile(`(?i)\bhttps?://[^\s"'|,\]\[<>]+`)

func endpoint(text, rule string) (Endpoint, error) {
	u, err := url.Parse(text)
	if err != nil {
		return Endpoint{}, errors.New("not a URL")
	}
	if u.Scheme != "https" {
		return Endpoint{}, errors.New("only https is read from")
	}
	host, err := Canonical(u.Hostname())
	if err != nil {
		return Endpoint{}, errors.New("no host name that can be allowed")
	}
	e := Endpoint{Host: host, Port: portHTTPS, Rule: rule}
	if digits := u.Port(); digits != "" {
		port, ok := parsePort(digits)
		if !ok || port == portHTTP {
			return Endpoint{}, errors.New("no port that can be allowed")
		}
		e.Port = port
	}
	return e, nil
}

// HasPassword reports whether a URL of a setting carries user information. What
// cannot be read as a URL may.
func HasPassword(value string) bool {
	return slices.ContainsFunc(urls.FindAllString(value, -1), func(text string) bool {
		u, err := url.Parse(text)
		return err != nil || u.User != nil
	})
}

// ParseSettings reads a configuration of lines: ini with and without sections,
// KEY=VALUE, and of TOML tables, text and lists of text, which may go on over
// several lines. What it does not understand it passes over: the hosts such a
// line might have named are then not allowed.
func ParseSettings(where string, data []byte) []Setting {
	var out []Setting
	section := ""
	open := false // the last value was a list that has not ended
	for line := range strings.Lines(string(data)) {
		text := strings.TrimSpace(line)
		text, _, _ = strings.Cut(text, " #")
		goesOn := len(out) > 0 && (open || startsURL(text))
		switch {
		case text == "" || text[0] == '#' || text[0] == ';':
		case goesOn:
			out[len(out)-1].Value += " " + text
			open = open && !strings.Contains(text, "]")
		case text[0] == '[':
			section = strings.NewReplacer(`"`, "", "'", "", "[", "", "]", "", " ", "").Replace(text) + "."
			open = false
		default:
			key, value, found := strings.Cut(text, "=")
			if !found {
				continue
			}
			value = strings.TrimSpace(value)
			out = append(out, Setting{Where: where, Key: section + strings.Trim(strings.TrimSpace(key), `"'`), Value: value})
			open = strings.HasPrefix(value, "[") && !strings.Contains(value, "]")
		}
	}
	return out
}

// startsURL tells a line that goes on with URLs from one that sets a key.
func startsURL(text string) bool {
	text = strings.ToLower(strings.TrimLeft(text, `"'`))
	return strings.HasPrefix(text, "https://") || strings.HasPrefix(text, "http://")
}
