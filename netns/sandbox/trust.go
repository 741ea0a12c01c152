// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"github.com/phantom-ns/phantom-ns/netns/sandbox/trust"
)

// Where the session's certificates lie inside: the session's CA alone, and the
// host's roots with it.
const (
	CAPath     = trust.CAPath
	BundlePath = trust.BundlePath
)

// TrustEnv is the environment, as NAME=value, of programs that look for roots
// of their own.
func TrustEnv() []string { return trust.Env() }

// trust covers the host's stores of certificates. It is the last stage that
// mounts, so the mounts are checked, and the rules for writing made, here, while
// init may still look everywhere.
func (p *pid1) trust() error {
	plan, err := trust.Build(trust.Options{
		SystemRoots: p.launch.SystemRoots,
		CA:          p.launch.CA,
		Home:        p.body.Spec.User.Home,
		Dir:         p.body.Spec.Dir,
		Env:         p.launch.Env,
		UID:         p.body.Spec.User.UID,
	})
	if err != nil {
		return err
	}
	err = plan.Apply(trust.Dir)
	for _, text := range plan.Warnings {
		if err := p.warn("%s", text); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	if err := p.own.verify(); err != nil {
		return err
	}
	return p.grantWrites()
}
