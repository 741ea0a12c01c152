// SPDX-License-Identifier: Apache-2.0

// Package fault proves that an agent never executes half-protected: each call
// that sets a session up is failed at each of its uses, by each of our
// processes, and each of these is killed and stopped at the moments between
// (O2, O5, O7). Either the session is right in full, read back from the kernel
// as the agent begins, or there is no agent, exit status 125, a line that names
// the stage and one that says what to do; and nothing left, on the network or on
// the machine.
//
// `make fault` tries the first, the last and one other use of each
// call, another one every day; FAULT_ALL=1, as `make soak` sets it, tries all,
// some 1,500. The tracer knows the registers of amd64 alone, and the tables the
// calls of Linux 6.12 and later.
package fault
