// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"net"
	"slices"
	"strings"
)

// The provenance of what comes from flags.
const (
	ruleWith    = "--with"
	ruleAllow   = "--allow"
	ruleLogin   = "--login"
	ruleProfile = "--profile"
)

// Flags are what a session has beside its policy: the command line's additions,
// the profile that [Choose] picked, and what was found out for it.
type Flags struct {
	With       []string   // names of stored credentials
	Login      []string   // providers whose login is made in the session, and kept
	Allow      []string   // HOST[:PORT], https; HOST may begin with "*."
	Profile    *Profile   // nil: none
	Registries []Endpoint // of the profile's package managers, see [Registry.Endpoints]
}

// Stored looks a stored credential up: the hosts recorded with it and its
// provider ("" for none). It is asked for the names of store: sources alone.
type Stored func(name string) (hosts []string, provider string, ok bool)

// Resolve joins a policy, flags and what is recorded of stored credentials into
// a session, and fills in every default:
//
//   - from: store:NAME; provider: the one recorded with the secret, else the
//     one that is called NAME, if any;
//   - hosts: those recorded with the secret, else the provider's. The policy's
//     narrow recorded ones: a host outside them is an error. For a source
//     without recorded hosts the policy's own count, else the provider's;
//   - env, inject, outbound, anonymous, placeholder: the provider's. Without
//     provider: inject is [bearer], placeholder "{base62:*}", env is required;
//   - allow: everything for a credential, GET and HEAD for a host without.
//
// A name of With that the policy declares adds nothing. An Allow that the
// policy declares adds GET and HEAD to that entry's list. A profile is a base:
// see [Profile] and the package's documentation. file may be nil. Errors are
// [*ResolveError].
func Resolve(file *File, flags Flags, stored Stored) (*Session, error) {
	if file == nil {
		file = defaults()
	}
	s := &Session{
		Hosts: slices.Clone(file.Hosts), Forward: slices.Clone(file.Forward), Publish: slices.Clone(file.Publish), Networks: slices.Clone(file.Upstream.Networks), Proxy: file.Upstream.proxy(),
		Filesystem: file.Filesystem, Permit: slices.Clone(file.Permit), Limits: file.Limits,
		AuditFull: file.AuditFull, KeyAtRest: file.KeyAtRest,
	}
	declared, err := withFlags(file.Credentials, flags.With)
	if err != nil {
		return nil, err
	}
	for _, d := range declared {
		c, err := resolveCredential(d, stored)
		if err != nil {
			return nil, err
		}
		s.Credentials = append(s.Credentials, c)
	}
	if err := s.addLogins(flags.Login); err != nil {
		return nil, err
	}
	egress := file.Egress
	if flags.Profile != nil {
		if err := s.addStored(flags.Profile, stored); err != nil {
			return nil, err
		}
		s.addPlaceholders(flags.Profile)
		s.omitVariables(flags.Profile)
		s.addSurroundings(flags.Profile)
		egress = beneath(file.Egress, flags.Profile.destinations(file.Telemetry, flags.Registries))
	}
	s.addEndpoints()
	if err := distinct(s.Credentials); err != nil {
		return nil, err
	}
	s.Egress, err = allowFlags(egress, flags.Allow)
	return s, err
}

// withFlags adds the credentials that --with names and the policy does not.
func withFlags(declared []Declared, with []string) ([]Declared, error) {
	out := slices.Clone(declared)
	for _, name := range with {
		if !isWord(name) {
			return nil, &ResolveError{ruleWith, fmt.Sprintf("%q is not the name of a credential", cut(name)), "phantom-ns secret list shows the names"}
		}
		if !slices.ContainsFunc(out, func(d Declared) bool { return d.Name == name }) {
			out = append(out, Declared{Name: name, Rule: ruleWith})
		}
	}
	return out, nil
}

// cut shortens untrusted text for a message.
func cut(text string) string {
	if len(text) > 80 {
		return text[:80] + "…"
	}
	return text
}

// allowFlags adds the hosts of --allow. The policy's entries are not touched:
// their lists are copied before they grow.
func allowFlags(egress []Egress, allow []string) ([]Egress, error) {
	out := slices.Clone(egress)
	for _, text := range allow {
		host, port, err := splitAllowFlag(text)
		if err != nil {
			return nil, err
		}
		at := slices.IndexFunc(out, func(e Egress) bool { return e.Host == host && e.Port == port })
		switch {
		case at < 0:
			out = append(out, Egress{Host: host, Port: port, Protocol: HTTPS, Allow: reads(ruleAllow), Rule: ruleAllow})
		case out[at].inspected():
			out[at].Allow = append(slices.Clone(out[at].Allow), reads(ruleAllow)...)
		}
	}
	return out, nil
}

func splitAllowFlag(text string) (host string, port uint16, err error) {
	name, digits, hasPort := strings.Cut(text, ":")
	port = portHTTPS
	if hasPort {
		var ok bool
		if port, ok = parsePort(digits); !ok {
			return "", 0, &ResolveError{ruleAllow, fmt.Sprintf("%q: want HOST or HOST:PORT", cut(text)), addressHint(text)}
		}
	}
	if port == portHTTP {
		return "", 0, &ResolveError{ruleAllow, fmt.Sprintf("%q: port 80 is not for https", cut(text)), "declare the host in a policy with protocol: http"}
	}
	if host, err = canonicalPattern(name); err != nil {
		return "", 0, &ResolveError{ruleAllow, fmt.Sprintf("%q: %v", cut(text), err), addressHint(text)}
	}
	return host, port, nil
}

func addressHint(text string) string {
	host, _, err := net.SplitHostPort(text)
	if err != nil {
		host = text
	}
	if name, ok := hostOrAddress(host); ok && strings.ContainsAny(name, ":0123456789") {
		return "an address is declared in a policy: egress: [{address: …, port: …, protocol: tcp}]"
	}
	return `a host is letters, digits and hyphens with dots between; "*." in front stands for everything below it`
}

// distinct refuses what two credentials cannot share.
func distinct(credentials []Credential) error {
	owner := make(map[string]*Credential)
	for i := range credentials {
		c := &credentials[i]
		for _, name := range c.Env {
			if other := owner[name]; other != nil {
				return &ResolveError{c.Rule, fmt.Sprintf("credentials %q and %q both set %s", other.Name, c.Name, name),
					"give one of them env: [ANOTHER_NAME]"}
			}
			owner[name] = c
		}
	}
	named := make(map[string]*Credential)
	for i := range credentials {
		c := &credentials[i]
		if c.Placeholder.Mode != ShapeName {
			continue
		}
		if other := named[c.name()]; other != nil {
			return &ResolveError{c.Rule, fmt.Sprintf("credentials %q and %q have the same placeholder", other.Name, c.Name),
				"give one of them placeholder: shape"}
		}
		named[c.name()] = c
	}
	return nil
}
