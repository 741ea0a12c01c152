// SPDX-License-Identifier: Apache-2.0

package sandbox

// The two sides speak over a pair of SOCK_SEQPACKET sockets, one packet a
// message: a kind, then a JSON body. Bodies that may be long (environment,
// certificates) travel in a memfd beside the message.
//
//	supervisor                                   init, PID 1 of the session
//	    │  clone: cgroup, namespaces, donated fds     │
//	    ├──────────────────────────────────────────►  ┤
//	    │  spec          + memfd                      │
//	    ├──────────────────────────────────────────►  ┤ listen
//	    │  listeners     + sockets                    │
//	    ├  ◄──────────────────────────────────────────┤ mount
//	    │  warning       any number                   │
//	    ├  ◄──────────────────────────────────────────┤ wait
//	    │  launch        + memfd                      │
//	    ├──────────────────────────────────────────►  ┤ cover, trust
//	    │  warning       any number                   │
//	    ├  ◄──────────────────────────────────────────┤ session
//	    │  terminal      + pty master, if there is one│
//	    ├  ◄──────────────────────────────────────────┤ privileges, seccomp,
//	    │                                             │ posture, exec
//	    │  running                                    │
//	    ├  ◄──────────────────────────────────────────┤ ─► agent
//	    │  signal        any number                   │
//	    ├──────────────────────────────────────────►  ┤ ─► agent's group
//	    │  stopped       any number                   │
//	    ├  ◄──────────────────────────────────────────┤ ◄─ agent (WUNTRACED)
//	    │  program       + bulk, streams; any number  │
//	    ├──────────────────────────────────────────►  ┤ ─► leader ─► program
//	    │  executed or failed, of the program         │
//	    ├  ◄──────────────────────────────────────────┤ ◄─ leader
//	    │  exited                                     │
//	    ├  ◄──────────────────────────────────────────┤ ◄─ agent
//	    │  end of file: init is gone, and with it     │
//	    ╵  every process of the session               ╵
//
// failed may come instead of anything above running, and is init's last word.
// End of file on init's side is the supervisor's death: init exits at once.
// From running on, init has the agent's uid and the supervisor takes what it
// says as hostile: only stopped and exited are read, and executed and failed of
// a program that was sent, and no descriptor. Signal, stopped and exited are
// about a program beside the agent where they carry its number.
const (
	kindSpec kind = iota + 1
	kindListeners
	kindLaunch
	kindWarning
	kindTerminal
	kindFailed
	kindRunning
	kindSignal
	kindStopped
	kindExited
	kindProgram
	kindExecuted
)

// kind says what a message is.
type kind uint8

// Bodies of the messages; spec and launch are in spec.go.
type (
	listenersBody struct {
		Roles []role // one for each descriptor, in order
	}
	warningBody struct{ Text string }
	failedBody  struct {
		programBody
		Stage Stage
		Errno int
		Text  string
	}
	signalBody struct { // also stopped
		programBody
		Signal int
	}
	exitedBody struct {
		programBody
		Code, Signal int
	}
	// programBody says what a message is about; also executed.
	programBody struct {
		Program int `json:",omitempty"` // 0 is the agent
	}
	startBody struct { // of kindProgram
		programBody
		Terminal int // which of 0, 1, 2 is a terminal of the session's; -1 is none
	}
)

// controlFD is where init finds its end of the socket pair.
const controlFD = 3

// messageLimit is the longest message, in bytes: well below the kernel's
// default of 212992 for one packet (net.core.wmem_default).
const messageLimit = 32 << 10

// fdLimit is the most descriptors of one message (SCM_MAX_FD).
const fdLimit = 253

// textLimit is where the text of a failure or warning is cut, in bytes.
const textLimit = 4 << 10
