// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net/netip"
	"time"
)

// File is a policy as written, checked and in canonical spelling, defaults not
// filled in: nil slices and zero values stand for keys that are absent, unless
// the field says otherwise.
type File struct {
	Name        string     // as given to [Parse]
	Profile     string     // of a profile that there is, or [NoProfile]
	Telemetry   bool       // the profile's telemetry hosts are allowed
	Credentials []Declared // in the order of the file
	Egress      []Egress   // defaults filled in
	Hosts       []HostTarget
	Upstream    Upstream
	Forward     []Forward
	Publish     []Publish
	Filesystem  Filesystem // defaults filled in
	Permit      []string
	Limits      Limits // defaults filled in
	AuditFull   string // AuditBlock (default) or AuditDrop
	KeyAtRest   string // "warn" (default) or "refuse"

	given map[string]string // the keys of the file, and where each stands
}

// defaults is a policy that says nothing.
func defaults() *File {
	return &File{Filesystem: defaultFilesystem(), Limits: defaultLimits, AuditFull: AuditBlock, KeyAtRest: "warn"}
}

// What is done with a record that the audit log does not take.
const (
	AuditBlock = "block" // requests wait
	AuditDrop  = "drop"  // it is counted
)

// Declared is one entry of a policy's credentials. A list that is nil was not
// given; one that is empty was given so.
type Declared struct {
	Name        string
	From        string
	Provider    string
	Env         []string
	Files       []MaskedFile
	Hosts       []string
	Positions   []Position
	Outbound    *Position
	Allow       []Allow
	Anonymous   Anonymous
	Placeholder *Shape
	Captures    []Capture
	Grant       *Grant
	Lifetime    time.Duration // 0: none
	Rule        string        // "file:line"
}

// MaskedFile is a file the agent sees a copy of, with a placeholder in it.
type MaskedFile struct {
	Path   string
	Format string // one of the Format constants
	Field  string // see [ParseField]
}

// Upstream is how the proxy leaves the machine. What is known of the network's
// own proxy stands in the policy's user and password keys, or in its URL.
type Upstream struct {
	Proxy    string // HOST:PORT of the network's own proxy; "" for none
	User     string // whom that proxy knows us as; "" for nobody
	From     string // the source of the password; "" for none
	Password string // the password itself, where it stands in the URL
	Networks []netip.Prefix
	Rule     string // of the proxy
}

// String does not show the password.
func (u Upstream) String() string { return "upstream " + u.Proxy }

// GoString does not show it either.
func (u Upstream) GoString() string { return u.String() }

// The defaults of a policy, and of a session without one.
var defaultLimits = Limits{Connections: 512, Streams: 100, HeaderBytes: 65536}

func defaultFilesystem() Filesystem { return Filesystem{Home: "overlay", Write: []string{"."}} }
