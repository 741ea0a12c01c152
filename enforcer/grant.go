// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"github.com/phantom-ns/phantom-ns/proxy/mint"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
	"github.com/phantom-ns/phantom-ns/proxy/swap"
)

// takeGrant makes a credential of an OAuth 2.0 client's secret: what is sent are
// the tokens that it is traded in for.
func (p *policyStage) takeGrant(c *policy.Credential, value secret.Value) (made swap.Credential, err error) {
	grant := &mint.ClientCredentials{
		URL: c.Grant.URL(), Client: c.Grant.Client, Scope: c.Grant.Scope, Audience: c.Grant.Audience,
		Secret: secret.NewCell(value),
	}
	made = swap.Credential{Policy: c, Minter: mint.New(grant.Exchange)}
	made.Minter.From(grant.Secret)
	made.Value = made.Minter.Cell()
	made.Placeholder, err = p.plain(c, policy.GrantedLength)
	return made, err
}
