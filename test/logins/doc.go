// SPDX-License-Identifier: Apache-2.0

// Package logins proves that logins of subscriptions, the tokens that endpoints
// hand out, and what a user's keyring has stay outside a session, and work in it.
package logins
