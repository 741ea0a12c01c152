// SPDX-License-Identifier: Apache-2.0

package policy

// pairFields are the parts of a key pair as AWS's services answer with it, in
// lower case and in the order of the pair.
var pairFields = []string{"accesskeyid", "secretaccesskey", "sessiontoken"}

// pairServices are the services whose answers hold key pairs, as signatures name
// them. Their answers are no objects and no streams.
var pairServices = map[string]bool{"sts": true, "iam": true, "cognito-identity": true}

// compilePair derives the key pair that answers to own's signed requests mint.
func (c *compiler) compilePair(own *Credential, r *Rules) error {
	if !own.Signs() || own.Minted {
		return nil
	}
	m := &Credential{
		Name: own.Name + ".minted", Source: own.Source, Provider: own.Provider, Hosts: own.Hosts, Positions: own.Positions,
		Allow: own.Allow, Anonymous: own.Anonymous, Challenge: own.Challenge, Rule: own.Rule, Minted: true,
		Placeholder: own.Placeholder,
	}
	e := &TokenEndpoint{Pair: m}
	for _, name := range pairFields {
		e.Secrets = append(e.Secrets, MintedField{Field: name, Credential: m})
	}
	r.pairs[own.Name], r.pairs[m.Name] = e, e // a minted pair may mint
	r.minted = append(r.minted, m)
	return c.bind(m)
}

// MintedPair returns how answers to requests that the credential named signed
// for a service of AWS are read; nil: they hold no key pair.
func (r *Rules) MintedPair(credential, service string) *TokenEndpoint {
	if !pairServices[service] {
		return nil
	}
	return r.pairs[credential]
}
