// SPDX-License-Identifier: Apache-2.0

// Package soak proves that sessions leave nothing behind: many in a row, and
// the machine counts the same descriptors, programs, maps, links, namespaces,
// cgroups and mounts as before; one with traffic of every kind for a long time,
// and its processes hold what they held before, in goroutines and memory too.
//
// SOAK_SESSIONS and SOAK_SECONDS say how many and how long; 200 and 60 without.
package soak
