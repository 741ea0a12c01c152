// SPDX-License-Identifier: Apache-2.0

// Package mask makes the copies of credential files that an agent sees. It
// guarantees:
//
//   - No field that the table or a policy calls a credential is in a copy. In
//     its place stands the placeholder of the session's credential for that
//     host or provider, or nothing.
//   - Nor is a password in a URL, a text of the shape of a well-known
//     provider's key, or a second spelling of what was taken out, wherever in
//     the file.
//   - Everything else is in the copy byte for byte.
//   - What cannot be read, or not be understood as its format, is empty in the
//     copy. Nothing is guessed.
//   - Values are in one short-lived process, which runs as the agent's user,
//     is closed to that user's others, and tells nobody of them: its answer
//     holds copies, and its warnings name files and fields.
//
// The tables are in package policy; formats are one scanner each, which says
// where the fields of a file stand.
package mask
