// SPDX-License-Identifier: Apache-2.0

// Package node proves the daemon of a node with real namespaces: what it is
// asked, what containers can and cannot do, and what is left of that when it or
// its proxy is killed, restarted or replaced.
package node
