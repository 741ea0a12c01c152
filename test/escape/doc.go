// SPDX-License-Identifier: Apache-2.0

// Package escape proves that a session has no way out but the proxy: a hostile
// agent tries everything on an attacker's list, and a few hundred things more,
// as the user, as a daemon that outlived its parents, and as root of a user
// namespace of its own.
//
// What each way must come to is a line of testdata/ways.txt, compared exactly:
// the errno of every step, and the audit record. A world with listeners at all
// the places that the agent could reach, and a tap on every interface, sees
// nothing of it.
//
// A way must be answered at once, not by silence: each has 0.9 s. ESCAPE_PACE=N
// gives it N times as long, on machines that emulate. Calls of another architecture are those of an amd64 machine.
package escape
