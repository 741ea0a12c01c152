// SPDX-License-Identifier: Apache-2.0

// Package proxy is the broker of one session: it takes the agent's connections
// and decides by name, and by nothing the agent says about itself, what goes
// upstream and with which credential.
//
// It guarantees that
//
//   - a connection without an origin, or to a name or address that no rule
//     allows, is closed before a byte of it is read;
//   - four names agree before a credential is used: the name behind the address
//     the agent connected to, the TLS server name, Host or :authority, and the
//     certificate upstream. The proxy resolves and dials that name alone;
//   - what one strict grammar does not admit is refused, and what is admitted is
//     written anew: for each accepted request the upstream sees exactly one
//     well-formed request, for any other none;
//   - HTTP/1.1 and HTTP/2 share one path from the parsed request on;
//   - the real value of a credential is set on the outgoing request alone, just
//     before it is written, over verified TLS, and appears in no error, log or
//     audit record;
//   - bodies stream in bounded memory. One in which a credential may stand is
//     held, up to 4 MiB of it and 64 MiB of a session's, and judged before a
//     byte of the request goes upstream;
//   - every request and every refused connection leaves one audit record, whose
//     id is in the refusal that the agent reads;
//   - no connection, pool, ticket or cache is shared between two Servers.
//
// It needs no privilege: listeners and origin lookup are given to it.
package proxy
