// SPDX-License-Identifier: Apache-2.0

// Package soak proves that sessions leave nothing behind: many in a row, and
// the machine counts the same descriptors, programs, maps, links, namespaces,
// cgroups and mounts as before.
package soak
