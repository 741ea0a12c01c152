// SPDX-License-Identifier: Apache-2.0

// Package cdi asks the library that runtimes use whether it reads the devices
// that the node writes, and does with them what they mean. It is a module of
// its own: the product needs nothing of what that library needs.
package cdi
