// SPDX-License-Identifier: Apache-2.0

// Package swap finds the credentials that a request carries and puts the real
// values in the placeholders' places.
//
// It guarantees that
//
//   - every value of every header that can carry a credential is judged, not the
//     first one: a header with two is refused, whichever of them is ours;
//   - a placeholder is ours only whole, in a position that its credential
//     declares, at a host that the credential is bound to. Parts, prefixes, other
//     cases and encodings are somebody else's credential;
//   - a placeholder anywhere else in the head or the target is reported, so that
//     it is never forwarded;
//   - [Finding.Apply] changes the places where placeholders were found and no
//     other byte of the target, of a header or of a body. The real value is in
//     no error and no [Finding].
//
// # Several
//
// A request may carry several credentials of the session, and one of them in
// several of its positions: each place is swapped by itself, as the client meant
// it. The same position twice, and two credentials that would go out in the same
// one, are refused. A credential with an outbound position goes out there alone,
// wherever and however often the client put it.
//
// # Encodings
//
// In a query, a path segment and a form the placeholder stands as it is, or
// percent-encoded as encodeURIComponent and its like do; in JSON as it is, or
// with \/ for a slash. It is swapped in no other spelling. The real value is
// written percent-encoded, or escaped, as far as its place needs it.
//
// # Bodies
//
// A body is looked at where a credential that is usable at the host declares
// form or json, and the body's Content-Type is that one, without a content
// coding and in UTF-8: see [Set.Body]. Then the declared fields alone are
// judged. One that holds anything else than the placeholder is a foreign
// credential; one that is there twice, also in another case, is refused. A
// placeholder elsewhere in a body passes as it is, and so does a body of any
// other type.
package swap
