// SPDX-License-Identifier: Apache-2.0

//go:build !root

package ca

// toolsRequired is false here so that a plain "go test" passes on a machine
// without the clients; "make test", which installs them, sets the tag.
const toolsRequired = false
