// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
)

// replaceable are the parts of a session that its proxy judges by, and that a
// reload replaces. The others were made of files, mounts, sockets, limits and
// variables when the agent began.
var replaceable = []string{"credentials", "egress", "hosts", "endpoints", "networks"}

// CheckReload tells why a session that began with s cannot go on with next, if
// so: what next wants was settled when the agent began. The error is a
// [*ResolveError].
//
//   - What is made of more than rules (see replaceable) has to be the same.
//   - A credential has to be one of s, in the same variables and of the same
//     shape: the agent has its placeholder already, or never will.
//   - A host whose TLS is inspected has to be one of s: clients read their
//     authority once, and it is good for the names of s alone.
//   - A network has to lie within those of s: the kernel knows no other.
//
// Less than s is always possible.
func (s *Session) CheckReload(next *Session) error {
	if err := s.checkSettled(next); err != nil {
		return err
	}
	for i := range next.Credentials {
		if err := s.checkCredential(&next.Credentials[i]); err != nil {
			return err
		}
	}
	return s.checkWays(next)
}

// CheckNodeReload is CheckReload for the policy of a node, under which sessions
// begin before and after: it may get hosts, networks and credentials, which
// sessions that are there cannot use or have no placeholder for. What a
// credential's placeholder looks like is settled, as containers hold it.
func (s *Session) CheckNodeReload(next *Session) error {
	if err := s.checkSettled(next); err != nil {
		return err
	}
	for i := range next.Credentials {
		c := &next.Credentials[i]
		if !slices.ContainsFunc(s.Credentials, func(had Credential) bool { return had.Name == c.Name }) {
			continue
		}
		if err := s.checkCredential(c); err != nil {
			return err
		}
	}
	return nil
}

// checkSettled compares what is made of more than rules.
func (s *Session) checkSettled(next *Session) error {
	before, after := s.parts(), next.parts()
	for _, key := range slices.Sorted(maps.Keys(after)) {
		if !slices.Contains(replaceable, key) && !reflect.DeepEqual(before[key], after[key]) {
			return cannot(key+" cannot change while the agent runs", "")
		}
	}
	for key := range before {
		if _, there := after[key]; !there && !slices.Contains(replaceable, key) {
			return cannot(key+" cannot change while the agent runs", "")
		}
	}
	return nil
}

// cannot is a wish that a running session cannot fulfil.
func cannot(text, rule string) error {
	return &ResolveError{rule, text, "start a new session for that; this one goes on as it was"}
}

// parts are the session's keys, without the lines that they came from.
func (s *Session) parts() map[string]any {
	var parts map[string]any
	data, err := json.Marshal(s)
	if err == nil {
		err = json.Unmarshal(data, &parts)
	}
	if err != nil {
		panic(fmt.Sprintf("policy: a session is no JSON: %v", err)) // it crosses processes as such
	}
	withoutRules(parts)
	return parts
}

func withoutRules(part any) {
	switch part := part.(type) {
	case map[string]any:
		delete(part, "rule")
		for _, inner := range part {
			withoutRules(inner)
		}
	case []any:
		for _, inner := range part {
			withoutRules(inner)
		}
	}
}

func (s *Session) checkCredential(c *Credential) error {
	at := slices.IndexFunc(s.Credentials, func(other Credential) bool { return other.Name == c.Name })
	if at < 0 {
		return cannot(fmt.Sprintf("credential %q was not there when the agent began, which has no placeholder for it", c.Name), c.Rule)
	}
	had := &s.Credentials[at]
	if !slices.Equal(had.Env, c.Env) || !reflect.DeepEqual(had.Placeholder, c.Placeholder) || had.Signs() != c.Signs() {
		return cannot(fmt.Sprintf("credential %q has other variables or another placeholder than when the agent began", c.Name), c.Rule)
	}
	return nil
}

// checkWays compares the hosts and networks.
func (s *Session) checkWays(next *Session) error {
	before, err := Compile(s)
	if err != nil {
		return err
	}
	after, err := Compile(next)
	if err != nil {
		return err
	}
	had, _ := before.Names()
	names, _ := after.Names()
	for _, name := range names {
		if !slices.ContainsFunc(had, func(pattern string) bool { return within(name, pattern) }) {
			return cannot(fmt.Sprintf("host %q was not there when the agent began, and the session's certificate authority is not good for it", name), "")
		}
	}
	known := before.Declared()
	for _, network := range after.Declared() {
		if !slices.ContainsFunc(known, func(p netip.Prefix) bool { return p.Bits() <= network.Bits() && p.Contains(network.Addr()) }) {
			return cannot(fmt.Sprintf("network %s was not there when the agent began, and the kernel knows no way to it", network), "")
		}
	}
	return nil
}

// within reports whether every host that name means is one that pattern means.
func within(name, pattern string) bool {
	if name == pattern {
		return true
	}
	parent, wild := strings.CutPrefix(pattern, "*.")
	return wild && strings.HasSuffix(strings.TrimPrefix(name, "*."), "."+parent)
}
