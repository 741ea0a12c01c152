// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/mint"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
	"github.com/phantom-ns/phantom-ns/proxy/swap"
)

// lasting is when the placeholder of a login's token says that it ends: the
// proxy keeps the real one alive, and no client has to.
var lasting = time.Date(2099, time.December, 31, 0, 0, 0, 0, time.UTC)

// takeLogin makes a credential of a login: its access token is what is sent, and
// what the tool's file holds beside it gets placeholders, too.
func (p *policyStage) takeLogin(c *policy.Credential, l *policy.Login, value secret.Value) (swap.Credential, error) {
	defer value.Wipe()
	login, err := readLogin(c, value)
	if err != nil {
		return swap.Credential{}, err
	}
	exchange := p.refresher(c, l, login).Exchange
	if !isStored(c) {
		if ends := login.Expires; !ends.IsZero() && time.Now().After(ends) {
			return swap.Credential{}, fmt.Errorf("%w: start the tool outside once, or store the login: phantom-ns secret set %s --from-file %s", mint.ErrEnding, c.Name, l.File.Path)
		}
		exchange = mint.Reread(func(ctx context.Context) (mint.Login, error) { return p.leases.read(ctx, c) })
	}
	token, err := login.Token()
	if err != nil {
		return swap.Credential{}, err
	}
	made := swap.Credential{Policy: c, Minter: mint.New(exchange)}
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

// readLogin reads a login as its source keeps it: the store in our own form, the
// file of a tool in the tool's. One in a file is never refreshed here: the
// service ends the refresh token that it is asked with, which would end the
// tool's own login, and to write there is to follow a path that is the user's.
func readLogin(c *policy.Credential, value secret.Value) (mint.Login, error) {
	switch kind, _, _ := strings.Cut(c.Source, ":"); secret.Kind(kind) {
	case secret.KindStore:
		return mint.ParseLogin(value)
	case secret.KindFile:
		at := policy.LoginOf(c.Provider).File
		return mint.Import(value.Reveal(), at.Access, at.Refresh, at.ID, at.Expires)
	}
	return mint.Login{}, errNotStored
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
