// SPDX-License-Identifier: Apache-2.0

//go:build !amd64

package main

var nativeWays = map[string]way{}

func iopl() string { return "call=EPERM" }
