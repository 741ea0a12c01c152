// SPDX-License-Identifier: Apache-2.0

// Package console brings a person's standard streams and terminal to a program
// of a session whose supervisor is another process.
//
// It guarantees that the terminal never leaves the person's process: what goes
// over is pipes and /dev/null, what comes back is the master of a terminal of the
// session's own. Both sides take what they read as hostile: messages are of fixed
// kinds and sizes, and carry descriptors only where these are expected; all others
// are closed unseen. Neither side waits for the other for longer than writing a
// message may take.
package console
