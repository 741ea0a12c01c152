// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"embed"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
)

// NoProfile is the name that switches profiles off, for --profile and for the
// policy's key.
const NoProfile = "none"

// Profile is what is known of a program: data, in profiles/.
type Profile struct {
	Name         string      // also the file's
	Aliases      []string    // further base names of commands
	Credentials  []string    // stored ones it may use, by name; each is a provider's
	Placeholders []Variable  // further variables that get the placeholder of the provider in Value
	Omit         []string    // further variables of its credentials that it wants unset; see [Session.omitVariables]
	Egress       []Egress    // hosts it needs without a credential, defaults filled in
	Telemetry    []Egress    // hosts it reports to; only where the policy says so
	Tools        []string    // profiles of programs it calls; see [Profile.parts]
	Registry     *Registry   // nil: it is no package manager
	State        []string    // folders written for real, made where they are missing
	Files        []StateFile // files written for real, made where they are missing
	Env          []Variable  // what the agent's environment gets
	Permit       []string
	Notice       string // one line for whoever starts it without a credential, --allow or a policy; "" for none
	Refuse       string // why it is not run at all; "" where it is
	Instead      string // what to do then
	Rule         string // "file:line" of the credentials, or of the profile
}

// StateFile is a file beside the folders of state: "~/x" or absolute, and what
// stands in it when it is made.
type StateFile struct {
	Path    string
	Content string
}

// Variable is one variable of the agent's environment.
type Variable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

//go:embed profiles/*.yaml
var profileFiles embed.FS

var profiles = sync.OnceValue(func() []Profile { return embedded(profileFiles, "profiles", parseProfile) })

// Profiles returns all of them, by name. What the elements point to is shared
// and not to be changed.
func Profiles() []Profile { return slices.Clone(profiles()) }

// ProfileNamed returns the profile of that name or alias.
func ProfileNamed(name string) (*Profile, bool) {
	if !mentioned(name) {
		return nil, false
	}
	for _, p := range profiles() {
		if p.Name == name || slices.Contains(p.Aliases, name) {
			return &p, true
		}
	}
	return nil, false
}

// mentioned tells whether a name or alias may be a profile's, without parsing
// any: most commands are none's, and parsing all takes some milliseconds of
// every start.
func mentioned(name string) bool {
	if name == "" {
		return false
	}
	entries, err := profileFiles.ReadDir("profiles")
	if err != nil {
		return true
	}
	for _, e := range entries {
		data, err := profileFiles.ReadFile(path.Join("profiles", e.Name()))
		if err != nil {
			return true
		}
		for line := range strings.Lines(string(data)) {
			if (strings.HasPrefix(line, "name:") || strings.HasPrefix(line, "aliases:")) && strings.Contains(line, name) {
				return true
			}
		}
	}
	return false
}

func profileNames() string {
	var names []string
	for _, p := range profiles() {
		names = append(names, p.Name)
	}
	return strings.Join(append(names, NoProfile), ", ")
}

// Choose picks the profile of a session: the one that flag names, else the
// policy's, else the one called as the command's base name without a version
// ("python3.12" is python). nil is none of them. An unknown profile, and one
// that is refused, is a [*ResolveError]. file may be nil.
func Choose(file *File, flag, command string) (*Profile, error) {
	name, rule := flag, ruleProfile
	if name == "" && file != nil && file.Profile != "" {
		name, rule = file.Profile, file.Name
	}
	if name == "" {
		p, known := commandProfile(command)
		if !known {
			return nil, nil
		}
		name, rule = p.Name, p.Rule
	}
	if name == NoProfile {
		return nil, nil
	}
	p, known := ProfileNamed(name)
	if !known {
		return nil, &ResolveError{rule, fmt.Sprintf("unknown profile %q", cut(name)), "known are: " + profileNames()}
	}
	if p.Refuse != "" {
		return nil, &ResolveError{rule, fmt.Sprintf("%s does not run in a session: %s", p.Name, p.Refuse), p.Instead}
	}
	return p, nil
}

func commandProfile(command string) (*Profile, bool) {
	base := path.Base(command)
	if p, known := ProfileNamed(base); known {
		return p, true
	}
	return ProfileNamed(strings.TrimRight(base, "0123456789."))
}

// parts returns the profile and those of its tools, and of their tools, each
// once and the profile first. Of a tool's the hosts, the registry and the
// environment count. Its credentials do not: that an agent may call git is no
// reason to let it push; nor do its state and what it is permitted.
func (p *Profile) parts() []*Profile {
	all := []*Profile{p}
	for i := 0; i < len(all); i++ {
		for _, name := range all[i].Tools {
			tool, known := ProfileNamed(name)
			if known && !slices.ContainsFunc(all, func(q *Profile) bool { return q.Name == tool.Name }) {
				all = append(all, tool)
			}
		}
	}
	return all
}

// Registries returns the profile's registry and those of its tools.
func (p *Profile) Registries() []*Registry {
	var all []*Registry
	for _, part := range p.parts() {
		if part.Registry != nil {
			all = append(all, part.Registry)
		}
	}
	return all
}
