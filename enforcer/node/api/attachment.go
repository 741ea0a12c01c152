// SPDX-License-Identifier: Apache-2.0

package api

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"time"
)

// Key names an attachment as CNI does: a container and an interface in it.
type Key struct {
	Container string `json:"container"` // CNI_CONTAINERID
	Interface string `json:"interface"` // CNI_IFNAME
}

// Pod says whose container it is: by its namespace a policy may be refused, and
// nothing else is decided.
type Pod struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid,omitempty"`
}

// Attachment joins a container's network namespace to a session under a
// policy. Two attachments of one namespace, of two interfaces, are one session.
type Attachment struct {
	Network   string         `json:"network,omitempty"`   // name of the CNI network; Collect keeps to one
	Container string         `json:"container"`           // CNI_CONTAINERID
	Interface string         `json:"interface"`           // CNI_IFNAME
	Namespace string         `json:"namespace"`           // path
	Policy    string         `json:"policy"`              // name
	Sealed    bool           `json:"sealed,omitempty"`    // no plugin before made an interface
	Addresses []netip.Prefix `json:"addresses,omitempty"` // of prevResult; answered where sealed
	Unfenced  bool           `json:"unfenced,omitempty"`  // a link without a host's side is accepted
	Pod       *Pod           `json:"pod,omitempty"`

	Session string    `json:"session,omitempty"` // answered: the id in the audit log
	Started time.Time `json:"started,omitzero"`  // answered
}

// Key returns what names the attachment.
func (a Attachment) Key() Key { return Key{a.Container, a.Interface} }

// Limits of names. The kernel bounds an interface's (IFNAMSIZ, with its NUL);
// a container's is part of a file's name.
const (
	maxContainer = 200 // and a network's
	maxInterface = 15
	maxPath      = 4096
	maxPolicy    = 63
	maxAddresses = 64
	maxPod       = 253 // RFC 1123, as Kubernetes has it
)

// SealedMAC is the hardware address of the interface of every sealed container
// (netns.HardwareAddr): a result that names it is of such a one.
const SealedMAC = "02:70:68:61:6e:74"

// Validate checks the names that CNI bounds, before anything is done by them.
func (k Key) Validate() error {
	if !ValidContainer(k.Container) {
		return fmt.Errorf("container id %.80q is not one that CNI allows", k.Container)
	}
	if !ValidInterface(k.Interface) {
		return fmt.Errorf("interface name %.80q is not one that the kernel allows", k.Interface)
	}
	return nil
}

// ValidContainer tells whether CNI allows the id of a container, or the name of
// a network: a letter or digit, then
// letters, digits, '_', '.' and '-' (CNI 1.1, "Parameters").
func ValidContainer(id string) bool {
	return id != "" && len(id) <= maxContainer && isAlphanumeric(id[0]) && !strings.ContainsFunc(id, func(r rune) bool {
		return r > 127 || !isAlphanumeric(byte(r)) && !strings.ContainsRune("_.-", r)
	})
}

// ValidInterface tells whether the kernel allows the name (dev_valid_name).
func ValidInterface(name string) bool {
	if name == "" || len(name) > maxInterface || name == "." || name == ".." {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' || r == ':' })
}

// None is the policy that every node has and no file can be: no credential and
// no way out.
const None = "none"

// ValidPolicy tells whether a name is one that a node's policy can have:
// [a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?, which is a DNS label.
func ValidPolicy(name string) bool {
	if name == "" || len(name) > maxPolicy || name[0] == '-' || name[len(name)-1] == '-' {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z')
	})
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// Validate checks everything that can be checked without looking.
func (a Attachment) Validate() error {
	if err := a.Key().Validate(); err != nil {
		return err
	}
	switch {
	case a.Network != "" && !ValidContainer(a.Network):
		return fmt.Errorf("network name %.80q is not one that CNI allows", a.Network)
	case !filepath.IsAbs(a.Namespace) || len(a.Namespace) >= maxPath || strings.ContainsRune(a.Namespace, 0):
		return fmt.Errorf("namespace %.80q is not an absolute path", a.Namespace)
	case !ValidPolicy(a.Policy):
		return fmt.Errorf("policy name %.80q is not one that a policy can have", a.Policy)
	case len(a.Addresses) > maxAddresses:
		return fmt.Errorf("%d addresses are more than %d", len(a.Addresses), maxAddresses)
	case a.Sealed && a.Unfenced:
		return errors.New("an attachment without an interface has no link that could be unfenced")
	}
	if p := a.Pod; p != nil && (len(p.Namespace) > maxPod || len(p.Name) > maxPod || len(p.UID) > maxPod) {
		return fmt.Errorf("a name of the pod is longer than %d bytes", maxPod)
	}
	return nil
}

// PolicyInfo is one policy of the node.
type PolicyInfo struct {
	Name        string `json:"name"`
	Error       string `json:"error,omitempty"` // why it serves nobody new; empty: usable
	Attachments int    `json:"attachments"`
}

// Stored says that a credential of the store is another one now.
type Stored struct {
	Name    string `json:"name"`
	Removed bool   `json:"removed,omitempty"`
}

// Status is what a daemon says of itself. It is answered only when it serves.
type Status struct {
	Version     string    `json:"version"` // of the program
	PID         int       `json:"pid"`
	Started     time.Time `json:"started"`
	Attachments int       `json:"attachments"`
	Sessions    int       `json:"sessions"`
	Pool        Pool      `json:"pool"`
	Policies    int       `json:"policies"`
	Unusable    []string  `json:"unusable,omitempty"` // policies that serve nobody new
	Problems    []string  `json:"problems,omitempty"` // what is not as it should be; pods are refused there, never opened
}

// Pool is the process that serves every session of the node.
type Pool struct {
	PID      int `json:"pid,omitempty"` // 0: it is being started again, and connections are refused
	Restarts int `json:"restarts"`
}
