// SPDX-License-Identifier: Apache-2.0

// Package mint obtains credentials that are not kept but made: exchanged for
// another one at an endpoint, and good for a while.
//
// It guarantees that
//
//   - a [Minter] yields a value that has not expired, or an error; a new one is
//     asked for before the old one ends, and by one exchange at a time however
//     many requests wait for it;
//   - an exchange that fails is tried again, ever more slowly, and never once
//     for each request; while the old value lasts nobody notices;
//   - a value is made known (to what searches answers for it) before any
//     request carries it;
//   - no error of this package holds a byte of a credential, nor of an answer.
package mint
