// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// resolveCredential fills in one declared credential.
func resolveCredential(d Declared, stored Stored) (Credential, error) {
	fail := func(hint, format string, args ...any) (Credential, error) {
		return Credential{}, &ResolveError{d.Rule, fmt.Sprintf("credential %q: ", d.Name) + fmt.Sprintf(format, args...), hint}
	}
	source := cmp.Or(d.From, "store:"+d.Name)
	name, fromStore := strings.CutPrefix(source, "store:")
	var recordedHosts []string
	var recordedProvider string
	if fromStore {
		found := false
		if stored != nil {
			recordedHosts, recordedProvider, found = stored(name)
		}
		if !found {
			return fail("store it with: phantom-ns secret set "+name, "the store has no %q", name)
		}
	}
	preset, known := chooseProvider(d, recordedProvider)
	if !known {
		return fail("known are: "+providerNames(), "unknown provider %q", cmp.Or(d.Provider, recordedProvider))
	}
	hosts, err := bind(d, fromStore, recordedHosts, preset.Hosts)
	if err != nil {
		return fail("hosts are recorded with the secret: phantom-ns secret set NAME --host HOST; a policy only narrows them", "%v", err)
	}
	if d.Env == nil && preset.Name == "" {
		return fail(fmt.Sprintf("add env: [VARIABLE] to credentials.%s in the policy, or provider: NAME", d.Name),
			"neither a provider nor env says where the placeholder appears")
	}
	c := fillIn(d, source, hosts, preset)
	if err := c.checkKey(); err != nil {
		return fail("see inject in phantom-ns-policy(5)", "%v", err)
	}
	return c, nil
}

// chooseProvider returns the preset; the zero one where there is none. A
// provider that is named and unknown is false.
func chooseProvider(d Declared, recorded string) (Provider, bool) {
	if name := cmp.Or(d.Provider, recorded); name != "" {
		return ProviderNamed(name)
	}
	preset, _ := ProviderNamed(d.Name)
	return preset, true
}

// bind decides the hosts of a credential. Hosts of a store: source can only
// come from the store or a provider, never from the policy alone.
func bind(d Declared, fromStore bool, recorded, preset []string) ([]string, error) {
	if len(recorded) == 0 && fromStore {
		recorded = preset
	}
	var out []string
	switch {
	case len(recorded) > 0:
		base, err := canonicalPatterns(recorded)
		if err != nil {
			return nil, fmt.Errorf("the hosts recorded with it: %w", err)
		}
		if out, err = narrow(d.Hosts, base); err != nil {
			return nil, err
		}
	case fromStore:
		return nil, errors.New("it was stored without hosts")
	case d.Hosts != nil:
		out = slices.Clone(d.Hosts)
	default:
		out = slices.Clone(preset)
	}
	if len(out) == 0 {
		return nil, errors.New("bound to no host: neither hosts nor a provider says which")
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func canonicalPatterns(texts []string) ([]string, error) {
	var out []string
	for _, text := range texts {
		name, err := canonicalPattern(text)
		if err != nil {
			return nil, err
		}
		out = append(out, name)
	}
	return out, nil
}

// narrow returns what wanted and base have in common. Each of wanted must have
// something: a host that silently fell away would be an option accepted and not
// in force.
func narrow(wanted, base []string) ([]string, error) {
	if wanted == nil {
		return base, nil
	}
	var out []string
	for _, want := range wanted {
		before := len(out)
		for _, have := range base {
			switch {
			case covers(have, want):
				out = append(out, want)
			case covers(want, have):
				out = append(out, have)
			}
		}
		if len(out) == before {
			return nil, fmt.Errorf("host %s is not among those it is bound to (%s)", want, strings.Join(base, ", "))
		}
	}
	return out, nil
}

// fillIn takes from the preset what is not declared.
func fillIn(d Declared, source string, hosts []string, preset Provider) Credential {
	c := Credential{
		Name: d.Name, Source: source, Provider: preset.Name, Env: d.Env, Hosts: hosts, Positions: d.Positions,
		Outbound: d.Outbound, Allow: d.Allow, Anonymous: cmp.Or(d.Anonymous, preset.Anonymous, AnonymousDeny),
		Challenge: preset.Challenge, Captures: d.Captures, Grant: d.Grant, Lifetime: d.Lifetime, Rule: d.Rule,
	}
	if c.Captures == nil {
		c.Captures = preset.Captures
	}
	if c.Env == nil {
		c.Env = preset.Env
	}
	if c.Positions == nil {
		c.Positions = preset.Positions
	}
	if c.Positions == nil {
		c.Positions = []Position{{Kind: PositionBearer}}
	}
	if c.Outbound == nil {
		c.Outbound = preset.Outbound
	}
	if d.Positions == nil && c.Outbound != nil {
		c.Positions = movable(c.Positions)
	}
	if c.Allow == nil {
		c.Allow = everything(d.Rule)
	}
	if c.Challenge == "" || d.Positions != nil {
		c.Challenge = challenge(d.Name, c.Positions)
	}
	switch {
	case d.Placeholder != nil:
		c.Placeholder = *d.Placeholder
	case preset.Name != "":
		c.Placeholder = Shape{Mode: ShapeProvider, Templates: preset.Templates}
	default:
		c.Placeholder = Shape{Mode: ShapeProvider, Templates: []string{plainTemplate}}
	}
	return c
}
