// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"reflect"
	"slices"
	"strings"
)

// TokenEndpoint is a compiled [Capture]: how the answers of one path are read.
type TokenEndpoint struct {
	Secrets []MintedField
	// Login is the credential that its answers make, where it takes a request that
	// carries none; else "".
	Login string
	Pair  *Credential // not nil: Secrets are the parts of one key pair, in its order
	// Service: its answers are those of a whole service, and may be long.
	Service bool
	hosts   []string
	glob    *glob
}

// MintedField is a field of answers, and the credential that its values are
// used as. One without a position is never sent by itself.
type MintedField struct {
	Field      string // in lower case
	Credential *Credential
}

// compileCaptures derives what the captures of c mint, and binds it.
func (c *compiler) compileCaptures(own *Credential, r *Rules) error {
	var derived []*Credential
	for _, capture := range own.captures() {
		lowered, err := compileGlob(strings.ToLower(capture.Path))
		if err != nil {
			return err
		}
		e := &TokenEndpoint{hosts: common(capture.Hosts, own.Hosts), glob: lowered}
		if own.Login {
			e.Login = own.Name
		}
		for _, s := range capture.Secrets {
			m := own.derive(capture, s, &derived)
			e.Secrets = append(e.Secrets, MintedField{Field: strings.ToLower(s.Field), Credential: m})
		}
		r.captures = append(r.captures, e)
	}
	for _, m := range derived {
		if err := c.bind(m); err != nil {
			return err
		}
	}
	return nil
}

// derive finds or makes the credential of one field: the same field in two
// captures is one, unless it is used otherwise.
func (c *Credential) derive(at Capture, s CapturedSecret, all *[]*Credential) *Credential {
	for number := 1; ; number++ {
		m := c.minted(at, s, number)
		i := slices.IndexFunc(*all, func(other *Credential) bool { return other.Name == m.Name })
		if i < 0 {
			*all = append(*all, m)
			return m
		}
		if reflect.DeepEqual((*all)[i], m) {
			return (*all)[i]
		}
	}
}

// Capture returns the endpoint that answers under an encoded path of host, or
// nil. Where servers read a path in several ways, any of them counts: an answer
// that is read for nothing costs little.
func (r *Rules) Capture(host, path string) *TokenEndpoint {
	var readings []string
	for _, e := range r.captures {
		if !slices.ContainsFunc(e.hosts, func(pattern string) bool { return covers(pattern, host) }) {
			continue
		}
		if readings == nil {
			readings = pathReadings(path)
		}
		if slices.ContainsFunc(readings, e.glob.match) {
			return e
		}
	}
	return nil
}

// pathReadings are the ways a server may read an encoded path, in lower case:
// decoded once; and with everything undone that some server undoes.
func pathReadings(raw string) []string {
	path := strings.ToLower(loose(raw))
	out := []string{path}
	for range 3 { // decoded twice is what gateways before servers do
		path = strings.ToLower(loose(path))
	}
	var segments []string
	for segment := range strings.FieldsFuncSeq(path, func(c rune) bool { return c == '/' || c == '\\' }) {
		segment, _, _ = strings.Cut(segment, ";")
		segment = strings.Trim(segment, " \t")
		switch {
		case segment == "" || segment == ".":
		case segment == "..":
			segments = segments[:max(0, len(segments)-1)]
		default:
			segments = append(segments, segment)
		}
	}
	return append(out, "/"+strings.Join(segments, "/"))
}

// loose decodes what decodes, and is never without its slash.
func loose(raw string) string {
	path, ok := decode(raw)
	if !ok {
		path = raw
	}
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return path
}
