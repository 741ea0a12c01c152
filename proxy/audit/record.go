// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"time"
)

// Version is the schema of the records written by this package, key "v".
const Version = 1

// Kind says which decision a record is about.
type Kind string

// The closed list of kinds.
const (
	KindRequest  Kind = "request"  // one HTTP request
	KindConnect  Kind = "connect"  // one connection that is not read as HTTP
	KindDNS      Kind = "dns"      // one name asked of the stub
	KindDenied   Kind = "denied"   // a socket operation refused in the kernel
	KindSession  Kind = "session"  // the session itself
	KindApproval Kind = "approval" // a person was asked
)

// Kinds lists every kind.
func Kinds() []Kind {
	return []Kind{KindRequest, KindConnect, KindDNS, KindDenied, KindSession, KindApproval}
}

// Verdict is the outcome of a decision.
type Verdict string

// The two verdicts.
const (
	Allow Verdict = "allow"
	Deny  Verdict = "deny"
)

// Record is one decision. Optional fields that are empty are not written; PID,
// Comm and UID are written together, when PID is not 0.
//
// Strings longer than their cap are cut and end in "…": path 2,048 bytes, rule
// 512, name 256, credential and position 128, id, session, prev and address 64,
// method 32, comm and proto 16.
type Record struct {
	V          int       `json:"v"`
	Time       time.Time `json:"time"`                 // UTC; stamped by Log
	ID         string    `json:"id"`                   // also in the refusal the agent sees; made by Log when empty
	Session    string    `json:"session"`              // stamped by Log
	Seq        uint64    `json:"seq"`                  // from 1 within the session; stamped by Log
	Prev       string    `json:"prev,omitempty"`       // hex SHA-256 of the session's line before, without its newline; none at seq 1
	PID        uint32    `json:"pid,omitempty"`        // in the host's pid namespace
	Comm       string    `json:"comm,omitempty"`       // the task's own name for itself: untrusted
	UID        uint32    `json:"uid,omitempty"`        //
	Kind       Kind      `json:"kind"`                 //
	Name       string    `json:"name,omitempty"`       // host name
	Address    string    `json:"address,omitempty"`    // IP address, without port
	Port       uint16    `json:"port,omitempty"`       //
	Proto      string    `json:"proto,omitempty"`      // tcp, udp, http/1.1, h2, a number …
	Method     string    `json:"method,omitempty"`     // as received; of a DNS question, its type
	Path       string    `json:"path,omitempty"`       // as received; cut at the first ? or #
	Credential string    `json:"credential,omitempty"` // its name, never its value
	Position   string    `json:"position,omitempty"`   // where in the request it was found
	Verdict    Verdict   `json:"verdict"`              //
	Reason     Reason    `json:"reason"`               //
	Rule       string    `json:"rule,omitempty"`       // file:line of the policy
	Status     int       `json:"status,omitempty"`     // the answer the agent got
	BytesIn    uint64    `json:"bytes_in,omitempty"`   // from the agent
	BytesOut   uint64    `json:"bytes_out,omitempty"`  // to the agent
	MS         float64   `json:"ms,omitempty"`         // milliseconds, kept to 0.001
	Suppressed uint64    `json:"suppressed,omitempty"` // like records left out by a rate limit since the last one written
}

// Caps of the string fields in bytes, before escaping. A name is at most 253
// octets (RFC 1035, section 2.3.4, without the root), comm 15 (TASK_COMM_LEN);
// the others are this package's choice.
const (
	capID       = 64
	capName     = 256
	capComm     = 16
	capAddress  = 64
	capProto    = 16
	capMethod   = 32
	capPath     = 2048
	capLabel    = 128 // credential, position
	capRule     = 512
	capPrev     = 64
	maxDuration = 1e12 // milliseconds: 31 years
)

// Check reports whether a record's kind, verdict and reason are in the closed
// lists. It is called on every write and every read.
func (r *Record) Check() error {
	switch r.Kind {
	case KindRequest, KindConnect, KindDNS, KindDenied, KindSession, KindApproval:
	default:
		return fmt.Errorf("check record: kind %q is not in the list", cut(string(r.Kind), capLabel))
	}
	if r.Verdict != Allow && r.Verdict != Deny {
		return fmt.Errorf("check record: verdict %q is not in the list", cut(string(r.Verdict), capLabel))
	}
	if !r.Reason.Known() {
		return fmt.Errorf("check record: reason %q is not in the list", cut(string(r.Reason), capLabel))
	}
	return nil
}

var idEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NewID returns 128 random bits as 26 characters of lower-case base32
// (RFC 4648, section 6, without padding), for records and sessions.
func NewID() string {
	var raw [16]byte
	rand.Read(raw[:]) // never returns an error since Go 1.24
	var text [26]byte
	idEncoding.Encode(text[:], raw[:])
	return string(text[:])
}
