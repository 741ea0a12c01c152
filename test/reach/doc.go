// SPDX-License-Identifier: Apache-2.0

// Package reach proves what a session reaches and what reaches it on the
// networks people have: a company's proxy and name servers, private names, a
// database on the host, the agent's own server seen from the host.
package reach
