// SPDX-License-Identifier: Apache-2.0

// Package scrub keeps the real credentials of a session out of what the agent
// receives.
//
// It guarantees that
//
//   - where a response carries a credential, the agent reads the placeholder:
//     raw; with any of its characters percent-encoded, escaped as in JSON or
//     written as HTML entities; in hexadecimal of any case; in base64 of either
//     alphabet, at each of the three alignments inside a longer text (so also
//     in the blob of HTTP Basic, whatever the user), wrapped or not;
//   - a replacement is exactly as wide as what it replaces, in the same
//     encoding: a Content-Length, a gRPC or protobuf length, a frame header
//     stays true. Base64 around it decodes to the same bytes as before;
//   - the result does not depend on how the stream was cut into reads;
//   - of a stream, only the longest suffix that begins a pattern is held back,
//     and not while the placeholder reads the same there: "sk-" leaves at once,
//     and so does everything else. Where credential and placeholder have no
//     beginning in common the suffix may be one letter, which some encoding
//     begins with; what ends with a line break, a brace or a message is not kept
//     waiting. A character takes 12 bytes at most, in base64 with a line break
//     and a full indent behind each digit 176: memory is bounded by that and the
//     longest credential;
//   - what is not understood does not pass: an unknown content coding, one that
//     expands beyond its limits, a WebSocket frame of either side outside the
//     protocol;
//   - who guesses a credential by what is held back learns a few characters: see
//     Guesses;
//   - the decoders of one session take 256 MiB together at most: see [Budget].
//
// # Width
//
// Every encoding of a character has a placeholder character of the same width,
// but for the short escapes of JSON (\/ and \") and some HTML entities. What
// those leave over is filled with spaces behind the placeholder, which JSON and
// HTML take for text; base64 decoders that admit no space then refuse the
// value. A placeholder that is not as long as its credential is cut, or followed
// by asterisks.
//
// Base64 that shows no character of either alphabet's own two is written in the
// standard one.
//
// # Time
//
// Each place of a stream is looked at once, and then matched against the few
// patterns that begin like it. That is linear in the stream but for credentials
// which repeat themselves, such as the same letter all along. What is held back
// is matched again when more comes: a credential of n bytes that comes byte by
// byte costs n*n/2 steps.
//
// # Guesses
//
// What is held back tells that a credential begins so, and the agent may have an
// upstream say any beginning, and pause. Beginnings that are six characters or
// more longer than what placeholder and credential have in common, and that come
// to nothing, are counted. With the second of them the Scrubber becomes wary, for
// good and in all its streams. From then on all is held back that could be part of
// a credential, whatever its value: the bytes that are in some form of one, from
// the last other byte or blank line on, as far back as the longest form reaches.
// An event, a JSON value or a sentence still leaves when it ends. A last word does
// not, nor at the end of a message one of more than four bytes: two sides that take
// turns may then wait for each other.
//
// An agent learns five characters of each credential, and what two guesses
// confirm; afterwards which characters that are no letters or digits there are in
// all of them together.
//
// # What is not found
//
// A credential that the upstream computed on: reversed, encrypted, hashed, cut
// into pieces, spread over several messages. Escapes of one kind are undone
// three levels deep (JSON in JSON in JSON), mixtures of kinds are not, nor is
// base64 of base64. Of a credential that has a backslash or a percent sign itself
// one level is undone. A non-ASCII character of a credential is found raw and
// percent-encoded, not as \uXXXX, and a space not as the plus of a form.
package scrub
