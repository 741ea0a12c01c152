// SPDX-License-Identifier: Apache-2.0

// Package node is the daemon of a machine that runs containers: it joins their
// network namespaces to sessions of the policies that the machine has.
//
// It guarantees that
//
//   - an attachment that was answered without an error is in force whole:
//     hooks, fence, guard, listeners and proxy; one that was not has left
//     nothing that lets the container out;
//   - what holds a container in the kernel does not depend on the daemon. While
//     it is away, killed at any point or being replaced, containers are refused,
//     or wait where a service manager keeps their listeners, and are never let
//     through;
//   - a namespace is known by its cookie, so that one that took the place of
//     another is another;
//   - whatever cannot be set up is refused with an error that names it;
//   - the daemon never holds a credential: helpers hand them to the pool.
package node
