// SPDX-License-Identifier: Apache-2.0

// Package rig is what the tests that need root share: a private world to run
// phantom-ns in, an upstream that records what reaches it, and the three
// oracles that decide whether a session kept its promises.
//
// It guarantees that
//
//   - a test leaves the machine as it was: a [World] is a mount namespace and
//     a network namespace of its own, so that policies, stores, logs, users and
//     routes exist for that test alone and vanish with it;
//   - a world's network has a route for every address, so that a packet that
//     escapes a session is a packet that a [Tap] sees, and never one that was
//     not sent for want of a route; nothing leaves the machine;
//   - every real credential of a run is a random [Canary], and an [Oracle]
//     finds it in bytes, files and directories, raw or encoded;
//   - an [Upstream] answers only the real credential in the position its
//     provider documents, and keeps every byte it was sent;
//   - [Leftovers] names whatever a session left in the kernel.
//
// Everything here needs root and Linux, and fails the test where it cannot
// work. Nothing skips.
package rig
