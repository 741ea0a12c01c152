// SPDX-License-Identifier: Apache-2.0

package policy

import "errors"

// pairFields are the parts of a key pair as AWS's services answer with it, in
// lower case and in the order of the pair.
var pairFields = []string{"accesskeyid", "secretaccesskey", "sessiontoken"}

// pairServices are the services whose answers hold key pairs, as signatures name
// them. Their answers are no objects and no streams.
var pairServices = map[string]bool{"sts": true, "iam": true, "cognito-identity": true}

// registryServices are those that answer with what package managers and docker
// log in with: a password, or base64 of "USER:PASSWORD".
var registryServices = map[string]bool{"ecr": true, "ecr-public": true, "codeartifact": true}

const registryField = "authorizationtoken"

// signedEndpoints are how the answers are read that one key pair signs for.
type signedEndpoints struct{ pair, registry *TokenEndpoint }

// compilePair derives what the answers to own's signed requests mint: a key pair,
// and the password of a registry.
func (c *compiler) compilePair(own *Credential, r *Rules) error {
	if !own.Signs() || own.Minted {
		return nil
	}
	keys := own.mintedAs("minted", own.Positions, own.Placeholder)
	password := own.mintedAs(registryField, []Position{{Kind: PositionBasic, Name: BasicPassword}, {Kind: PositionBearer}},
		Shape{Mode: ShapeProvider, Templates: []string{plainTemplate}})
	e := signedEndpoints{
		pair:     &TokenEndpoint{Pair: keys, Service: true},
		registry: &TokenEndpoint{Secrets: []MintedField{{Field: registryField, Credential: password}}, Service: true},
	}
	for _, name := range pairFields {
		e.pair.Secrets = append(e.pair.Secrets, MintedField{Field: name, Credential: keys})
	}
	r.signed[own.Name], r.signed[keys.Name] = e, e // a minted pair may mint
	return errors.Join(c.bind(keys), c.bind(password))
}

// mintedAs is a credential that answers to c's requests give values to.
func (c *Credential) mintedAs(name string, positions []Position, shape Shape) *Credential {
	return &Credential{
		Name: c.Name + "." + name, Source: c.Source, Provider: c.Provider, Hosts: c.Hosts, Positions: positions,
		Allow: c.Allow, Anonymous: c.Anonymous, Challenge: c.Challenge, Rule: c.Rule, Minted: true,
		Placeholder: shape,
	}
}

// MintedBy returns how answers to requests that the credential named signed for
// a service of AWS are read; nil: they hold no credential.
func (r *Rules) MintedBy(credential, service string) *TokenEndpoint {
	switch {
	case pairServices[service]:
		return r.signed[credential].pair
	case registryServices[service]:
		return r.signed[credential].registry
	}
	return nil
}
