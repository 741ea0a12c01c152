// SPDX-License-Identifier: Apache-2.0

// Package ca is the certificate authority of one session.
//
// It guarantees that
//
//   - the authority's key is made in memory and never leaves it: no method
//     returns, prints or marshals it, and it ends with the process;
//   - a leaf names exactly one host, a plain lower-case DNS name within the
//     names the authority was made for; anything else is an error;
//   - an authority made with a list of names is of no use for other names: the
//     names are critical constraints in its certificate (RFC 5280, section
//     4.2.1.10), an empty list allows nothing, and no authority with a list is
//     good for IP addresses;
//   - a leaf handed out is valid now and for days to come, however long the
//     session lives and if the clock is set;
//   - memory is bounded: at most [MaxLeaves] leaves are kept.
package ca
