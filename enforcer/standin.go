// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"strings"
	"time"

	"github.com/phantom-ns/phantom-ns/netns/sandbox"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
	"github.com/phantom-ns/phantom-ns/proxy/sign"
)

// usable is a credential's value in the form in which the proxy uses it: a key
// pair is stored in several. It takes value over.
func usable(c *policy.Credential, value secret.Value) (secret.Value, error) {
	if c.Asserts() {
		_, err := sign.ReadAccount(value.Reveal())
		return value, err
	}
	if !c.Signs() {
		return value, nil
	}
	defer value.Wipe()
	pair, err := sign.Read(value.Reveal())
	if err != nil {
		return secret.Value{}, err
	}
	return secret.New(pair)
}

// standIn makes what the agent holds instead of a usable value.
func (p *policyStage) standIn(c *policy.Credential, value secret.Value) (string, error) {
	if c.Asserts() {
		return p.spec.Node.account(c, value)
	}
	if !c.Signs() {
		return p.like(c, value)
	}
	ours, err := sign.ParseKeys(value.Reveal())
	if err != nil {
		return "", err
	}
	theirs, err := ours.Placeholder(p.spec.Node.random(c.Name))
	return string(theirs.Join()), err
}

// like is what stands for a value that is one text.
func (p *policyStage) like(c *policy.Credential, value secret.Value) (string, error) {
	if text, ok, err := p.spec.Node.settled(c); ok || err != nil {
		return text, err
	}
	var ends time.Time
	if c.Lifetime > 0 { // others follow, and the placeholder stays
		ends = lasting
	}
	return policy.HolderFor(*c, value.Reveal(), ends, p.spec.TailSeed[c.Name], p.spec.Node.random(c.Name))
}

// plain is what stands for a value of length characters.
func (p *policyStage) plain(c *policy.Credential, length int) (string, error) {
	if text, ok, err := p.spec.Node.settled(c); ok || err != nil {
		return text, err
	}
	return policy.Placeholder(*c, length, p.spec.TailSeed[c.Name], p.spec.Node.random(c.Name))
}

func standInAccount(value secret.Value) (string, error) {
	account, err := sign.ReadAccount(value.Reveal())
	if err != nil {
		return "", err
	}
	text, err := account.Placeholder()
	return string(text), err
}

// givenName is the name of the file that c's placeholder is in.
func givenName(c *policy.Credential) string { return c.Name + ".json" }

// given are the files that hold placeholders which clients read from files.
func given(spec *policy.Session, placeholders map[string]string) []sandbox.CoverFile {
	var files []sandbox.CoverFile
	for i := range spec.Credentials {
		if c := &spec.Credentials[i]; c.Asserts() {
			files = append(files, sandbox.CoverFile{Name: givenName(c), Content: []byte(placeholders[c.Name])})
		}
	}
	return files
}

// placeholderOf is what the variable of c at index gets; false: it is not set.
func placeholderOf(c *policy.Credential, placeholder string, index int) (string, bool) {
	if c.Asserts() {
		return sandbox.GivenDir + "/" + givenName(c), true
	}
	if !c.Signs() {
		return placeholder, true
	}
	parts := strings.Split(placeholder, ":")
	if index >= len(parts) {
		return "", false
	}
	return parts[index], true
}
