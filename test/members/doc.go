// SPDX-License-Identifier: Apache-2.0

// Package members proves that members of a group run agents without sudo, as
// sudo would have run them, and that nobody else does and none gets more than
// the administrator's policies give.
package members
