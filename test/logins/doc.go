// SPDX-License-Identifier: Apache-2.0

// Package logins proves that logins of subscriptions and the tokens that
// endpoints hand out stay outside a session, and work in it.
package logins
