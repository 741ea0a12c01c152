// SPDX-License-Identifier: Apache-2.0

// Package dns is the only name server a session has.
//
// It guarantees that
//
//   - no question goes anywhere: the package has no client, dials nothing and
//     answers from the session's own [Table], so that no label the agent chose
//     leaves the machine;
//   - a name the policy cannot allow does not exist (NXDOMAIN, at once); one it
//     can has a synthetic address of each family, its own for the whole
//     session, and no record of any other type: no key for an encrypted
//     ClientHello, no hint to HTTP/3, no text;
//   - an answer comes from the address that was asked, whichever it was;
//   - malformed messages are answered with an error or dropped, and memory,
//     connections and audit records stay bounded however many questions come.
package dns
