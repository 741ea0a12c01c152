// SPDX-License-Identifier: Apache-2.0

// Package fence takes rights away from the calling process, for good: a filter
// of system calls and rules of Landlock. It needs no privilege but no_new_privs.
//
// It guarantees that
//
//   - a filter knows one architecture: calls of another end the process, and
//     numbers later than the newest that was judged here answer ENOSYS;
//   - a filter is on every thread of the process, or an error is returned;
//   - rules that the kernel does not know are left out, and whoever makes a
//     ruleset can ask which those are; rules that it knows are in force, or an
//     error is returned.
package fence
