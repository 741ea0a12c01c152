// SPDX-License-Identifier: Apache-2.0

// Package docs holds the documents to the code: every test that THREATS.md
// names exists, the tables of KERNEL.md are the code's, and the man pages name
// every command, flag, key, limit and reason, and no other.
//
// Parts of a document between a line "generated: NAME" and a line "end" are
// written by go generate; without -update the tests compare them.
package docs

//go:generate go test -run ^TestGenerated$ . -update
