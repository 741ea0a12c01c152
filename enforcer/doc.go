// SPDX-License-Identifier: Apache-2.0

// Package enforcer runs one session: it joins the kernel half (package bpf),
// the sealed namespace (package netns and its sandbox) and the proxy, in an
// order in which the agent cannot exist before everything that holds it does.
//
// It guarantees that the agent executes only after every mechanism is in
// force, that no process but the proxy holds a real credential, and that
// whatever way a session ends, nothing of it stays that Sweep does not remove.
package enforcer
