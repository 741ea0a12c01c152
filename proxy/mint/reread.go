// SPDX-License-Identifier: Apache-2.0

package mint

import (
	"context"
	"errors"
	"time"
)

// ErrEnding is a login that its tool has not refreshed in time.
var ErrEnding = errors.New("the login ends, and its tool has not refreshed it")

// Reread is the Exchange of a login that stays with its tool, which alone
// refreshes it: it takes over what the tool has by then. read tells.
func Reread(read func(context.Context) (Login, error)) Exchange {
	return func(ctx context.Context, _ Upstream) (Token, error) {
		l, err := read(ctx)
		if err != nil {
			return Token{}, err
		}
		// With less left the Minter would ask again at once: it goes on with what it
		// has, and asks more and more slowly.
		if !l.Expires.IsZero() && time.Until(l.Expires) <= earliest {
			return Token{}, ErrEnding
		}
		return l.Token()
	}
}
