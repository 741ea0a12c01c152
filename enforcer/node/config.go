// SPDX-License-Identifier: Apache-2.0

package node

import (
	"cmp"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
	"github.com/phantom-ns/phantom-ns/enforcer/node/cdi"
	"github.com/phantom-ns/phantom-ns/enforcer/node/grants"
)

// Where a machine's own daemon has its things. Run and Pins are on file systems
// that a reboot empties, as it does the namespaces.
const (
	PoliciesDir = "/etc/phantom-ns/policies"
	StateDir    = "/var/lib/phantom-ns/node"
	PinsDir     = "/sys/fs/bpf/phantom-ns"
	Group       = "phantom-ns"
)

// RunDir holds the sockets and what is attached.
var RunDir = filepath.Dir(api.Socket)

// Config says where a daemon has its things. The zero value of each field but
// the last three is the machine's own.
type Config struct {
	Policies string     // NAME.yaml each
	State    string     // the seed, and what is known of each policy
	Run      string     // sockets and attachments
	Pins     string     // a directory of a bpffs
	CDI      cdi.Layout // what containers mount
	Shared   string     // the file of a seed that all nodes have; "": none
	Grants   string     // the file of [grants.Check], for pods; "": they have what they name
	Group    string     // may reach the sockets; "": Group, if there is such a group

	Version string
	Getenv  func(string) string
	Logger  *slog.Logger
}

// MaxSessions bounds the sessions of a node. Kubernetes stops at some hundred
// pods; an empty entry costs nothing.
const MaxSessions = 16384

func (c Config) withDefaults() Config {
	c.Policies = cmp.Or(c.Policies, PoliciesDir)
	c.State = cmp.Or(c.State, StateDir)
	c.Run = cmp.Or(c.Run, RunDir)
	c.Pins = cmp.Or(c.Pins, PinsDir)
	if c.Getenv == nil {
		c.Getenv = os.Getenv
	}
	return c
}

// granted tells whether a pod may have the policy that it names. What comes from
// no pod is root's.
func (c *Config) granted(a api.Attachment) error {
	if c.Grants == "" || a.Pod == nil || a.Policy == api.None {
		return nil
	}
	return grants.Check(c.Grants, a.Policy, a.Pod.Namespace)
}

// The places below a daemon's directories.
func (c *Config) attachments() string    { return filepath.Join(c.Run, "attachments") }
func (c *Config) seed() string           { return filepath.Join(c.State, "seed") }
func (c *Config) facts(n string) string  { return filepath.Join(c.State, "policies", n, "facts.json") }
func (c *Config) socket(n string) string { return filepath.Join(c.Run, n) }
