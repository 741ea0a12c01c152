// SPDX-License-Identifier: Apache-2.0

// Package profile proves that programs run with nothing but their name: git,
// npm, pip and an agent, each against a recording upstream that has its real
// credential or plays the registry its user configured, and none further than
// its profile says. Its tests need root and what test/setup/install.sh clients
// installs.
package profile
