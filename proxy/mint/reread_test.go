// SPDX-License-Identifier: Apache-2.0

package mint

import (
	"context"
	"errors"
	"testing"
	"time"
)

// TestReread: what the tool has is taken over as long as it lasts, and a file
// that cannot be read says so.
func TestReread(t *testing.T) {
	gone := errors.New("gone")
	for name, c := range map[string]struct {
		left time.Duration // 0: the end is not known
		err  error
		want error
	}{
		"lasts":         {left: time.Hour},
		"without end":   {},
		"ends soon":     {left: earliest, want: ErrEnding},
		"ended":         {left: -time.Second, want: ErrEnding},
		"cannot be had": {left: time.Hour, err: gone, want: gone},
	} {
		t.Run(name, func(t *testing.T) {
			l := Login{Access: "the access token of the tool", Refresh: "the refresh token of the tool"}
			if c.left != 0 {
				l.Expires = time.Now().Add(c.left)
			}
			token, err := Reread(func(context.Context) (Login, error) { return l, c.err })(t.Context(), nil)
			if !errors.Is(err, c.want) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if err == nil && (string(token.Value.Reveal()) != l.Access || !token.Expires.Equal(l.Expires) || len(token.Also) != 1) {
				t.Errorf("took %+v", token)
			}
		})
	}
}
