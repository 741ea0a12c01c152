// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net/netip"
	"time"
)

// Session is everything the proxy needs to know of one session. It holds no
// secret and crosses processes as JSON. Hosts are canonical; defaults are
// filled in.
type Session struct {
	Credentials []Credential   `json:"credentials,omitempty"`
	Logins      []Credential   `json:"logins,omitempty"` // without a value: the agent's user logs in, see [Flags]
	Egress      []Egress       `json:"egress,omitempty"`
	Hosts       []HostTarget   `json:"hosts,omitempty"`
	Endpoints   []string       `json:"endpoints,omitempty"` // hosts that the proxy itself asks for credentials, on port 443; no way out for the agent
	Forward     []Forward      `json:"forward,omitempty"`
	Publish     []Publish      `json:"publish,omitempty"`
	Proxy       *Proxy         `json:"proxy,omitempty"`
	Networks    []netip.Prefix `json:"networks,omitempty"` // upstream.networks: private ranges any name may resolve to
	Filesystem  Filesystem     `json:"filesystem"`
	Env         []Variable     `json:"env,omitempty"` // of the profile, for the agent; by name
	Permit      []string       `json:"permit,omitempty"`
	Limits      Limits         `json:"limits"`
	AuditFull   string         `json:"audit.full"`
	KeyAtRest   string         `json:"strict.key_at_rest"`
}

// Credential is one credential of a session, resolved: never its value.
type Credential struct {
	Name        string        `json:"name"`
	Source      string        `json:"source"`             // as in the policy: "store:openai"
	Provider    string        `json:"provider,omitempty"` // "" for none
	Env         []string      `json:"env,omitempty"`      // variables the placeholder appears in
	Hosts       []string      `json:"hosts"`              // canonical, or "*." and canonical
	Positions   []Position    `json:"positions"`          // where a client may put it
	Outbound    *Position     `json:"outbound,omitempty"` // where upstream wants it; nil: where it came
	Allow       []Allow       `json:"allow"`              // empty: nothing
	Anonymous   Anonymous     `json:"anonymous"`
	Challenge   string        `json:"challenge,omitempty"` // WWW-Authenticate of our own 401
	Placeholder Shape         `json:"placeholder"`
	Captures    []Capture     `json:"captures,omitzero"`  // nil: the general ones of OAuth 2.0
	Grant       *Grant        `json:"grant,omitempty"`    // not nil: its value is a client's secret, traded in for tokens
	Lifetime    time.Duration `json:"lifetime,omitempty"` // how long a value is used: before its end it is fetched again; 0: for the whole session
	Rule        string        `json:"rule"`               // "file:line" or "--with"

	// Login is set of those in [Session.Logins]: the endpoint takes a request
	// without a credential, and what it answers is a login to keep.
	Login bool `json:"login,omitempty"`

	// Of what a capture mints, which [Compile] derives and no session holds:
	Minted   bool     `json:"-"` // it has a value when an answer had one
	Endpoint bool     `json:"-"` // used in the body at a capture's path alone
	Claims   []string `json:"-"` // of a JWT, that its placeholder shows
}

// Anonymous says what happens to a request without a credential to a host that
// has one.
type Anonymous string

// Deny answers 401 as the provider would; read lets GET, HEAD and
// git-upload-pack pass.
const (
	AnonymousDeny Anonymous = "deny"
	AnonymousRead Anonymous = "read"
)

// Allow is one "METHOD GLOB" of an allow list.
type Allow struct {
	Method string `json:"method"` // upper case, or "*"
	Glob   string `json:"glob"`   // "*" for any path, else begins with "/"
	Rule   string `json:"rule"`   // "file:line" or the flag it came from
}

// Protocol of an egress entry.
type Protocol string

// The protocols an entry may declare.
const (
	HTTPS Protocol = "https"
	HTTP  Protocol = "http"
	TCP   Protocol = "tcp"
)

// Egress is one allowed destination: a host or, for tcp alone, a network.
type Egress struct {
	Host        string         `json:"host,omitempty"` // canonical, or "*." and canonical
	Address     netip.Prefix   `json:"address,omitzero"`
	Port        uint16         `json:"port"`
	Protocol    Protocol       `json:"protocol"`
	Passthrough bool           `json:"passthrough,omitempty"`
	Allow       []Allow        `json:"allow,omitempty"` // empty: nothing
	Foreign     bool           `json:"foreign,omitempty"`
	Networks    []netip.Prefix `json:"networks,omitempty"`
	Rule        string         `json:"rule"`
}

// HostTarget says where a name really is. Whoever opens files for the session
// reads CAFile with the rights of the policy's owner and stores its PEM in CA;
// [Compile] refuses a CAFile without CA.
type HostTarget struct {
	Host    string `json:"host"`
	Connect string `json:"connect,omitempty"` // ADDRESS or HOST, with or without :PORT; "" for the name itself
	CAFile  string `json:"ca_file,omitempty"`
	CA      []byte `json:"ca,omitempty"` // PEM
	Rule    string `json:"rule"`
}

// Forward is a port of the agent's loopback that reaches a service outside.
type Forward struct {
	Port    uint16 `json:"port"`
	Connect string `json:"connect"` // HOST:PORT outside
	Rule    string `json:"rule"`
}

// Publish is a port of the agent's that is reached from the host's loopback.
type Publish struct {
	Listen netip.AddrPort `json:"listen"`          // of the host
	Port   uint16         `json:"port"`            // the agent's
	Login  string         `json:"login,omitempty"` // the credential whose login it is for; "" where it is the policy's own
	Rule   string         `json:"rule"`
}

// Filesystem is what the agent sees and writes of the host's files.
type Filesystem struct {
	Home   string   `json:"home"` // "overlay" or "read-only"
	Write  []string `json:"write,omitempty"`
	Hide   []string `json:"hide,omitempty"`
	Expose []string `json:"expose,omitempty"`
}

// Limits of one session.
type Limits struct {
	Connections int `json:"connections"`  // open at once, from the agent
	Streams     int `json:"streams"`      // at once on one HTTP/2 connection
	HeaderBytes int `json:"header_bytes"` // of one request head
}
