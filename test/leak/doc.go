// SPDX-License-Identifier: Apache-2.0

// Package leak proves that a real credential in use is in none of the places
// where somebody could look for it: the memory of every process but the proxy,
// what ps and /proc show, dumps, logs, and the disk.
package leak
