// SPDX-License-Identifier: Apache-2.0

// Package http proves what the broker does with HTTP, from outside: of every
// head that two parsers could read in two ways the upstream sees nothing, and
// of every other one exactly one well-formed request; ordinary clients get the
// same answers with a session as without; HTTP/2 is spoken no worse than
// net/http speaks it. The first needs nothing; the others have the tag root.
package http
