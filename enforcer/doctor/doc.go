// SPDX-License-Identifier: Apache-2.0

// Package doctor looks at what a session needs of the machine and tries one.
//
// It guarantees that what it calls ok was tried and worked, as the agent's user
// and, for programs, inside a sealed session; that it changes nothing of the
// host's; and that it sends nothing to anyone: its upstream is its own, on the
// loopback, and the one name it asks the host's resolver is one that RFC 6761
// reserves.
package doctor
