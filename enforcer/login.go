// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"crypto/rand"
	"fmt"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/mint"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
	"github.com/phantom-ns/phantom-ns/proxy/swap"
)

// lasting is when the placeholder of a login's token says that it ends: the
// proxy keeps the real one alive, and no client has to.
var lasting = time.Date(2099, time.December, 31, 0, 0, 0, 0, time.UTC)

// takeLogin makes a credential of a stored login: its access token is what is
// sent, and what the tool's file holds beside it gets placeholders, too.
func (p *policyStage) takeLogin(c *policy.Credential, l *policy.Login, stored secret.Value) (swap.Credential, error) {
	defer stored.Wipe()
	if !isStored(c) {
		return swap.Credential{}, errNotStored
	}
	login, err := mint.ParseLogin(stored)
	if err != nil {
		return swap.Credential{}, err
	}
	token, err := login.Token()
	if err != nil {
		return swap.Credential{}, err
	}
	made := swap.Credential{Policy: c, Minter: mint.New(p.refresher(c, l, login).Exchange)}
	made.Value = made.Minter.Cell()
	if made.Placeholder, err = loginHolder(c, login.Access, p.spec.TailSeed[c.Name]); err != nil {
		return swap.Credential{}, err
	}
	if login.ID != "" {
		if p.holders[c.Name+policy.LoginID], err = loginHolder(c, login.ID, p.spec.TailSeed[c.Name]); err != nil {
			return swap.Credential{}, err
		}
	}
	if p.holders[c.Name+policy.LoginRefresh], err = loginHolder(c, login.Refresh, p.spec.TailSeed[c.Name]); err != nil {
		return swap.Credential{}, err
	}
	made.Minter.Start(token, time.Time{}) // it may be old, and revoked since
	return made, nil
}

// loginHolder is in the form of the token: a JWT's placeholder is one.
func loginHolder(c *policy.Credential, token string, tailSeed []byte) (string, error) {
	preset, _ := policy.ProviderNamed(c.Provider)
	shown := *c
	shown.Claims = preset.Claims
	text, ok, err := policy.JWT(shown, []byte(token), lasting, rand.Reader)
	if ok || err != nil {
		return text, err
	}
	if text, err = policy.Placeholder(*c, len(token), tailSeed, rand.Reader); err != nil {
		return "", fmt.Errorf("login: %w", err)
	}
	return text, nil
}
