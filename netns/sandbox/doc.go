// SPDX-License-Identifier: Apache-2.0

// Package sandbox starts the agent of a session: a re-executed child of this
// program ("phantom-ns: init", PID 1 of the session) that builds the agent's
// view of the host, gives up everything it has, and starts it.
//
// It guarantees that the agent, when it runs at all,
//
//   - was born in the session's cgroup and network namespace, so that no socket
//     of it was made outside;
//   - has the user's ids and no others, no capability in any set of any thread,
//     no_new_privs, a seccomp filter, no descriptor above 2, no core dumps, and
//     namespaces that are not the host's: init reads all of it back, of every
//     thread, and refuses to start the agent when anything differs;
//   - sees the host read-only and without set-user-id, but for the working
//     directory and the paths it was given; /run, /tmp, /var/tmp, /dev, /proc
//     and /sys are its own, and so are no sockets of the host;
//   - dies, with everything it started, when init or the supervisor does.
//
// What goes wrong before that is a *StageError, and the agent does not run.
//
// The parent's side is Start and Child; the child's side is Main. protocol.go
// draws what they say to each other.
package sandbox
