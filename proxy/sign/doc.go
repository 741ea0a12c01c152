// SPDX-License-Identifier: Apache-2.0

// Package sign takes requests that a client has signed with a key it was given
// as a placeholder, and signs them with the real one.
//
// It guarantees:
//
//   - a request is signed only where the signature it came with is the one that
//     the placeholder makes: who merely knows a key's public name gets nothing;
//   - what is signed is what is written upstream, header by header, and nothing
//     that the client had not signed is added to it but the real key's own name
//     and token;
//   - a real key leaves the package in the form of signatures alone, which are
//     good for one request, for as long as the service says.
//
// It knows AWS Signature Version 4: in the Authorization field, in the query of
// a presigned URL, and in the chunks of a signed stream. How a path is encoded
// for the signature differs between services and clients; whichever way the
// client's own signature comes out right is the way the request is signed.
package sign
