// SPDX-License-Identifier: Apache-2.0

// Package agents proves that the agents people use every day work in a session
// as they come from npm and PyPI, started by their name alone: with a
// placeholder in their environment and no base URL each asks its own provider,
// played by a recording stand-in on the real name, gets its answer with the real
// credential upstream, and reaches nothing that its profile does not name. Its
// tests need root and what test/setup/install.sh agents installs, which is large:
// make agents runs them, and make test does not.
package agents
