// SPDX-License-Identifier: Apache-2.0

package cdi

import (
	"fmt"
	"strings"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
	"github.com/phantom-ns/phantom-ns/netns/sandbox/trust"
)

// Policy is what containers of one policy are given.
type Policy struct {
	Name string   // as in /etc/phantom-ns/policies/NAME.yaml
	Env  []string // NAME=placeholder
	CA   []byte   // PEM, exactly one certificate
}

// Layout says where the node keeps it. The zero value is a machine's own.
type Layout struct {
	Specs  string // "" is SpecDir
	Shared string // "" is SharedDir
	Root   string // where the node's own roots are looked for; "" is /
}

// Where runtimes look for specifications, and what these mount.
const (
	SpecDir   = "/etc/cdi"
	SharedDir = "/var/lib/phantom-ns/shared"
)

// Kind is the vendor and class of the devices: `--device phantom-ns.dev/policy=NAME`.
const Kind = "phantom-ns.dev/policy"

// Check tells what Write would refuse of a policy alone, so that one that
// cannot be written need not keep the others from it.
func (p Policy) Check() error {
	if !api.ValidPolicy(p.Name) {
		return fmt.Errorf("policy name %.80q is not one that a policy can have", p.Name)
	}
	for _, v := range p.Env {
		name, _, ok := strings.Cut(v, "=")
		if !ok || name == "" || strings.ContainsAny(v, "\x00\n\r") {
			return fmt.Errorf("policy %s: variable %.40q is not NAME=value on one line", p.Name, name)
		}
	}
	if _, err := trust.NewFiles(nil, p.CA); err != nil {
		return fmt.Errorf("policy %s: %w", p.Name, err)
	}
	return nil
}

// environment is a container's: placeholders, then what clients that carry
// roots of their own read.
func (p Policy) environment() []string {
	return append(append([]string{}, p.Env...), trust.Env()...)
}

// envFile is the environment as Docker, podman and ctr read files of it: a
// line each, no quotes.
func (p Policy) envFile() []byte {
	return []byte(strings.Join(p.environment(), "\n") + "\n")
}
