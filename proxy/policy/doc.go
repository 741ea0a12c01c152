// SPDX-License-Identifier: Apache-2.0

// Package policy turns a policy file, command line flags and the hosts a
// credential was stored for into one immutable set of rules, and answers every
// question of the proxy from it.
//
// It guarantees:
//
//   - Nothing is allowed that no line allows. An empty file is an error, an
//     empty allow list allows nothing, a missing session has no names.
//   - A key this build does not act upon is refused, never accepted in silence.
//     Unknown keys, duplicate keys, wrong types and bad values are errors that
//     carry file, line and column, and whose message quotes nothing of the file.
//   - There is one spelling of a host: the one [Canonical] returns.
//   - A policy narrows the hosts a credential was stored for and never widens
//     them. A credential is used over inspected https only.
//   - [Session] and everything in it is free of secrets and crosses processes
//     as JSON. [Rules] is never written after [Compile] and safe for any number
//     of goroutines. No function here opens a file or a socket.
//
// # What a profile adds
//
// A profile is a base below the policy. Its credentials are used where they are
// stored and neither the policy nor a flag brings one of the same provider or
// for the same variable. Its hosts, and those that its package managers are
// configured to read from, are added where no entry of the policy covers host
// and port: an entry of the policy decides alone, a narrower one too. Its
// folders of state are written for real, its variables reach the agent, and what
// it is permitted is permitted. profile: none in a policy leaves all of it out.
//
// # Which entry decides
//
// Several entries may cover one host. For a host and port:
//
//  1. An exact host is more specific than a wildcard, a longer wildcard more
//     than a shorter one. The most specific egress entry for the port counts
//     and the others are ignored. One host and port may be declared once.
//  2. Every credential that covers the host may be used there, because its
//     placeholder names it; its own allow list judges the request.
//  3. A request without any credential is judged by the anonymous key of the
//     most specific credential (deny wins between equals), unless an egress
//     entry is strictly more specific: then by that entry's allow list.
//  4. Somebody else's credential passes only where the egress entry says
//     foreign_credentials: allow and no credential is more specific than that
//     entry. It never passes together with one of the session's own.
//  5. A credential holds on port 443, and on another port only where an egress
//     entry for the host declares it as inspected https. An entry with
//     passthrough, http or tcp that is strictly more specific than the
//     credential takes the host away from it; one that is less specific is
//     ignored for that host on port 443; one for the very same host is an error.
package policy
