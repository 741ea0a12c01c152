// SPDX-License-Identifier: Apache-2.0

package swap

import (
	"strings"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
	"github.com/phantom-ns/phantom-ns/proxy/sign"
)

// A credential of position service_account is a Google service account's key:
// its placeholder and its value are each the JSON of one. The client makes
// assertions with the placeholder's, which are made again with the real one:
// as a bearer token, and in the form that a token endpoint takes (RFC 7523).

// assertionField is the name of an assertion in a form.
const assertionField = "assertion"

func (c *Credential) asserts() bool { return hasPosition(c, policy.PositionServiceAccount) }

// assertion notes a token that the placeholder of a usable credential made.
func (j *judgement) assertion(token string, at span) (bool, error) {
	return j.declared(policy.PositionServiceAccount, func(c *Credential, _ policy.Position) (place, bool) {
		return place{assertion: token, span: at}, c.account != nil && c.account.Made(token)
	})
}

// bearerAssertion judges an Authorization field.
func (j *judgement) bearerAssertion(value string) (bool, error) {
	scheme, token, _ := strings.Cut(value, " ")
	if !strings.EqualFold(scheme, "bearer") || !j.declares(policy.PositionServiceAccount) {
		return false, nil
	}
	return j.assertion(token, span{})
}

// assert makes an assertion again with the real key.
func (a *application) assert(p place, v secret.Value) error {
	account, err := sign.ReadAccount(v.Reveal())
	if err != nil {
		return ErrUnfit
	}
	token, err := account.Again(p.assertion)
	if err != nil {
		return ErrUnfit
	}
	if p.span != (span{}) {
		a.content = append(a.content, edit{p.span, token})
		return nil
	}
	a.set("Authorization", "Bearer "+token)
	return nil
}

// accountOf is the placeholder's key of c; nil where it has none.
func accountOf(c *Credential) *sign.Account {
	if !c.asserts() {
		return nil
	}
	account, err := sign.ReadAccount([]byte(c.Placeholder))
	if err != nil { // whoever made it saw to that: without it nothing matches
		return nil
	}
	return account
}

// accountParts are the lines of the key as it would come back, each with one of
// the placeholder's.
func (c *Credential) accountParts(v secret.Value, f func(part secret.Value, placeholder string) error) error {
	real, err := sign.ReadAccount(v.Reveal())
	if err != nil || c.account == nil {
		return err
	}
	theirs := keyLines(c.account)
	for i, line := range keyLines(real) {
		copied, err := secret.New([]byte(line))
		if err != nil {
			return err
		}
		err = f(copied, asLong([]byte(theirs[i%len(theirs)]), len(line)))
		copied.Wipe()
		if err != nil {
			return err
		}
	}
	return nil
}

// keyLines are the lines of a private key that say something: not the frame of
// PEM, nor a last one too short to be searched for.
func keyLines(a *sign.Account) (lines []string) {
	for line := range strings.SplitSeq(a.PEM(), "\n") {
		if len(line) >= secret.MinLength && !strings.HasPrefix(line, "-----") {
			lines = append(lines, line)
		}
	}
	return lines
}
