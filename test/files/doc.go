// SPDX-License-Identifier: Apache-2.0

// Package files holds what a session makes of the user's files: credential
// files are masked, real credentials at rest are found, files that run by
// themselves are protected or named, and the home folder is whatever it is.
// Sessions are real, and so are the tools that read the copies.
package files
