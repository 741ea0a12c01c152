// SPDX-License-Identifier: Apache-2.0

//go:build root

package ca

const toolsRequired = true
