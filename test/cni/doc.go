// SPDX-License-Identifier: Apache-2.0

// Package cni proves phantom-cni with a real daemon, real plugins of others
// and the library that runtimes call plugins with: what CNI 1.1 demands (K1),
// ends after crashes (K2), inputs of any kind (K3), chains after bridge, ptp
// and macvlan in every mix of address families (K4), the host's network (K5)
// and many containers at once (K7).
//
// A container is a network namespace, and a program in it; a world (package
// rig) is the node, and nothing of it is left on the machine.
package cni
