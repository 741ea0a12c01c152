// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"slices"
)

// addStored adds the profile's credentials that are stored and that nothing
// more explicit stands in for.
func (s *Session) addStored(p *Profile, stored Stored) error {
	explicit := slices.Clone(s.Credentials)
	for _, name := range p.Credentials {
		if stored == nil {
			return nil
		}
		if _, _, found := stored(name); !found {
			continue
		}
		c, err := resolveCredential(Declared{Name: name, Rule: p.Rule}, stored)
		if err != nil {
			return err
		}
		rival := func(other Credential) bool { return rivals(other, c) }
		loggedIn := slices.ContainsFunc(s.Logins, func(l Credential) bool { return standsFor(l, c) || rivals(l, c) })
		if !loggedIn && !slices.ContainsFunc(explicit, func(e Credential) bool { return standsFor(e, c) }) && !slices.ContainsFunc(s.Credentials, rival) {
			s.Credentials = append(s.Credentials, c)
		}
	}
	return nil
}

// addPlaceholders lets the placeholder of a provider's credential appear where
// this program looks for it, too. A credential that appears in none of the
// provider's own variables was given others on purpose.
func (s *Session) addPlaceholders(p *Profile) {
	for _, v := range p.Placeholders {
		preset, _ := ProviderNamed(v.Value)
		taken := slices.ContainsFunc(s.Credentials, func(c Credential) bool { return slices.Contains(c.Env, v.Name) })
		for i := range s.Credentials {
			c := &s.Credentials[i]
			if !taken && c.Provider == preset.Name && slices.Contains(c.Env, preset.Env[0]) {
				c.Env = append(slices.Clone(c.Env), v.Name)
				taken = true
			}
		}
	}
}

// omitVariables takes variables away that say what a provider's first one says:
// some programs warn of two. A credential that is in those alone was given them
// on purpose, and where it stands in a variable for each of its parts all stay.
func (s *Session) omitVariables(p *Profile) {
	for i := range s.Credentials {
		c := &s.Credentials[i]
		preset, known := ProviderNamed(c.Provider)
		if !known || c.Signs() || len(preset.Env) == 0 || !slices.Contains(c.Env, preset.Env[0]) {
			continue
		}
		c.Env = slices.DeleteFunc(slices.Clone(c.Env), func(name string) bool { return name != preset.Env[0] && slices.Contains(p.Omit, name) })
	}
}

// standsFor reports whether an explicit credential takes the place of the
// profile's.
func standsFor(explicit, c Credential) bool {
	return explicit.Name == c.Name || explicit.Provider != "" && explicit.Provider == c.Provider ||
		slices.ContainsFunc(c.Env, func(name string) bool { return slices.Contains(explicit.Env, name) })
}

// addSurroundings adds environment and permissions.
func (s *Session) addSurroundings(p *Profile) {
	for _, part := range p.parts() {
		for _, v := range part.Env { // the profile's own come first and count
			if !slices.ContainsFunc(s.Env, func(w Variable) bool { return w.Name == v.Name }) {
				s.Env = append(s.Env, v)
			}
		}
	}
	slices.SortFunc(s.Env, func(a, b Variable) int { return cmp.Compare(a.Name, b.Name) })
	for _, name := range p.Permit {
		if !slices.Contains(s.Permit, name) {
			s.Permit = append(s.Permit, name)
		}
	}
}

// destinations are all hosts of the profile and its tools. An earlier entry
// counts: the profile's own before its tools', both before a registry's.
func (p *Profile) destinations(telemetry bool, registries []Endpoint) []Egress {
	var all []Egress
	for _, part := range p.parts() {
		all = beneath(all, part.Egress)
	}
	if telemetry {
		all = beneath(all, p.Telemetry)
	}
	var found []Egress
	for _, e := range registries {
		found = append(found, Egress{Host: e.Host, Port: e.Port, Protocol: HTTPS, Allow: reads(e.Rule), Rule: e.Rule})
	}
	return beneath(all, found)
}

// beneath adds those of lower that no entry of upper covers.
func beneath(upper, lower []Egress) []Egress {
	out := slices.Clone(upper)
	for _, e := range lower {
		covered := slices.ContainsFunc(out, func(u Egress) bool { return u.Port == e.Port && u.Host != "" && covers(u.Host, e.Host) })
		if !covered {
			out = append(out, e)
		}
	}
	return out
}
