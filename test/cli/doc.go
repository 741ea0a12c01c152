// SPDX-License-Identifier: Apache-2.0

// Package cli proves what the command line answers: exit statuses, and for
// every bad input one line that names the thing, one that says what to do, and
// an agent that never starts.
package cli
