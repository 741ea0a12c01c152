// SPDX-License-Identifier: Apache-2.0

package mint

import (
	"context"
	"fmt"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

// ClientCredentials is the grant of RFC 6749, section 4.4: an access token for
// a client's id and secret.
type ClientCredentials struct {
	URL      string
	Client   string
	Scope    string // "" for none
	Audience string // "" for none; some services want it
	Secret   *secret.Cell
}

// Exchange asks for a token. An answer without expires_in is good for as long
// as the upstream takes it.
func (c *ClientCredentials) Exchange(ctx context.Context, up Upstream) (t Token, err error) {
	g := grant{{"grant_type", "client_credentials"}, {"client_id", c.Client}}
	for _, field := range [][2]string{{"scope", c.Scope}, {"audience", c.Audience}} {
		if field[1] != "" {
			g = append(g, field)
		}
	}
	err = c.Secret.Use(func(v secret.Value) error {
		g = append(g, [2]string{"client_secret", string(v.Reveal())})
		return nil
	})
	if err != nil {
		return Token{}, err
	}
	asked := time.Now()
	a, err := ask(ctx, up, c.URL, true, g)
	if err != nil {
		return Token{}, fmt.Errorf("client credentials: %w", err)
	}
	token := a.Get("access_token")
	if t.Value, err = secret.New([]byte(token)); err == nil {
		err = secret.Check(t.Value)
	}
	if err != nil {
		t.Value.Wipe()
		return Token{}, fmt.Errorf("client credentials: %w", err)
	}
	t.Expires = a.Ends(token, asked)
	return t, nil
}
