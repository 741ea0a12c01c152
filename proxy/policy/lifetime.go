// SPDX-License-Identifier: Apache-2.0

package policy

import "time"

// The bounds of a lifetime: a source is not asked all the time, and a year is
// for ever.
const (
	minLifetime = time.Second
	maxLifetime = 365 * 24 * time.Hour
)

// readLifetime reads how long a value is good for.
func readLifetime(r *reader, n *node, d *Declared) error {
	text, err := r.str(n, "credentials.lifetime")
	if err != nil {
		return err
	}
	d.Lifetime, err = time.ParseDuration(text)
	if err != nil || d.Lifetime < minLifetime || d.Lifetime > maxLifetime {
		return r.fail(n, "credentials.lifetime: want a duration from 1s to 8760h, such as 55m or 12h")
	}
	return nil
}
