// SPDX-License-Identifier: Apache-2.0

// Package redirect holds the proof of the redirect, run with -tags root: that every connection of a session arrives with
// the origin it asked for, and with no other, in every way a socket can connect; that the same holds when the hooks are
// taken away in the middle; and that what is neither redirected nor local is refused at once.
//
// The connecting side is a C program in a cgroup and a sealed namespace. It sends over each connection the destination
// it asked for; the accepting side compares that with what the kernel says.
//
// Each mode makes 80,000 connections. REDIRECT_CONNECTIONS says another number: an emulated machine takes minutes for
// 80,000, and the rig's table says how many were made.
package redirect
