// SPDX-License-Identifier: Apache-2.0

// Package clients proves that real programs work in a session as they are: with
// a placeholder in their environment, no proxy variable and no base URL, each
// reaches an upstream that answers the real credential alone, gets its answer,
// and never sees that credential. Its tests need root and what
// test/setup/install.sh clients installs.
package clients
