// SPDX-License-Identifier: Apache-2.0

// Package secret fetches real credentials and holds them.
//
// It guarantees:
//
//   - A [Value] prints as "[redacted]" under every verb, in every encoding and
//     in every log; its bytes leave it only through [Value.Reveal]. They live
//     in memory that is locked, left out of core files and, where the kernel
//     has memfd_secret, unmapped from the kernel's own view.
//   - No error of this package holds a byte of a credential. Errors name the
//     reference, and the operating system's reason.
//   - What passes [Check] can be placed in an HTTP field as it is.
//   - A [Store] is old or new after a crash, never half of either, and is not
//     written by an operation whose read was refused.
//   - The helper ([Main]) makes itself undumpable before it reads its request,
//     keeps nothing secret in argv or environment, and refuses to run a program
//     or to speak to a session bus as root.
//
// Bytes pass through ordinary memory in two places: the buffers of the age
// library while a store is read or written, in processes that end right after,
// and the kernel's pipes and page cache.
package secret
