// SPDX-License-Identifier: Apache-2.0

// Package api is how a node's daemon is spoken to: HTTP/1.1 with JSON over a
// Unix socket, and the client of it.
//
//	POST /v1/attach        Attachment            Attachment, with session and addresses
//	POST /v1/check         Attachment            {}
//	POST /v1/detach        Key                   {}, also when there is none
//	POST /v1/collect       Keep                  {}
//	POST /v1/stop          {"session": ID}       {}
//	POST /v1/reload        {}                    [PolicyInfo]
//	POST /v1/stored        Stored                {}
//	GET  /v1/attachments                         [Attachment]
//	GET  /v1/policies                            [PolicyInfo]
//	GET  /v1/status                              Status
//
// Whatever is not done is answered with an Error and the HTTP status that goes
// with its code.
//
// It guarantees that both sides read the same: a message with a key that this
// version does not know, a key given twice, or more than one value is refused
// whole, in either direction; that no message outgrows its bound; and that
// every call ends by its deadline.
package api

import "time"

// Version is the first element of every path. What a message may hold changes
// with it alone.
const Version = "v1"

// Socket is where the daemon listens.
const Socket = "/run/phantom-ns-node/node.sock"

// Bounds of messages in bytes. Collect lists what a node holds, and an answer
// may, with all there is to say of each.
const (
	MaxRequest = 64 << 10
	MaxCollect = 4 << 20
	MaxAnswer  = 16 << 20
)

// Deadlines of the calls where the context has none that is shorter. Kubelet
// gives a runtime two minutes for a sandbox; attaching fetches no credential
// and takes milliseconds where the machine has time.
const (
	AttachTimeout = 30 * time.Second
	CallTimeout   = 10 * time.Second
	ReloadTimeout = 60 * time.Second // helpers fetch credentials
)
