// SPDX-License-Identifier: Apache-2.0

// Package swap finds the credentials that a request carries and puts the real
// value in a placeholder's place.
//
// It guarantees that
//
//   - every value of every header that can carry a credential is judged, not the
//     first one: a request with two is refused, whichever of them is ours;
//   - a placeholder is ours only whole, in a position that its credential
//     declares, at a host that the credential is bound to. Parts, prefixes, other
//     cases and encodings are somebody else's credential;
//   - a placeholder anywhere else in the head or the target is reported, so that
//     it is never forwarded;
//   - [Finding.Apply] leaves exactly one credential in the header, and the real
//     value is in no error and no [Finding].
//
// Bodies are not looked at: a placeholder there passes as it is.
package swap
