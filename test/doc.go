// SPDX-License-Identifier: Apache-2.0

// Package test holds the fences between the rooms of the house: which way
// imports go, and who alone may import what. The packages below it prove the
// program as a whole.
package test
