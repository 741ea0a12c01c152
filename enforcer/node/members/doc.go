// SPDX-License-Identifier: Apache-2.0

// Package members lets members of a group run agents without sudo, as far as
// the administrator's policies go.
//
// It guarantees that nobody else starts a session: who asks is told by the
// kernel, with the groups that the asking process really has, and never by the
// mode of a file alone. The daemon reads nothing that a member sends: it gives the
// socket to a supervisor of the session's own, a process that outlives it. The
// supervisor holds what a member asks for against [Request.Check]; it opens
// nothing by a member's path with root's rights.
package members
