// SPDX-License-Identifier: Apache-2.0

// Package trust makes every TLS client in one mount namespace trust a session's CA.
//
// It guarantees:
//
//   - The host's stores are never written. Every change is a mount over an existing file or
//     directory, and Apply refuses a mount namespace from which mounts propagate to another.
//   - A mount point is found by walking its path one component at a time, each opened with
//     openat2 and checked. A link is followed only when root owns it and every directory that
//     led to it, and nobody else can write there. In any other place a link, FIFO, device,
//     socket or directory where a file is expected is skipped with a warning; a regular file
//     is covered by descriptor, so what was checked is what is covered.
//   - Nothing below procfs is reached, so no magic link either.
//   - The search is a fixed list of patterns with fixed bounds on directories read, names read
//     and files covered. It costs milliseconds whatever the user's home holds.
//   - Only certificates are carried from a store into its cover: never private keys, and never
//     bytes that did not parse as a store.
//
// What cannot be helped by mounts is told to the client by the variables of Env.
package trust
