// SPDX-License-Identifier: Apache-2.0

// Command phantom-ns runs a program that holds placeholders instead of
// credentials, in a network namespace whose only way out is a proxy that puts
// the real ones in.
//
// What the user types reaches the command line; what the program starts of
// itself is told apart by argv[0], which no user can choose by a flag.
package main

import (
	"os"
	"runtime"

	"github.com/phantom-ns/phantom-ns/enforcer"
	"github.com/phantom-ns/phantom-ns/enforcer/node/members"
	"github.com/phantom-ns/phantom-ns/netns/sandbox"
	"github.com/phantom-ns/phantom-ns/proxy/mask"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

// stages are the processes that the supervisor starts. They never return.
var stages = map[string]func(){
	members.SupervisorStage: supervisorMain,
	enforcer.ProxyStage:     enforcer.ProxyMain,
	sandbox.InitStage:       sandbox.Main,
	sandbox.LeaderStage:     sandbox.LeaderMain,
	secret.Stage:            func() { secret.Main(enforcer.ConfineSecret) },
	mask.Stage:              func() { mask.Main(enforcer.ConfineMask) },
}

func main() {
	if stage, ok := stages[os.Args[0]]; ok {
		stage()
	}
	// PR_SET_PDEATHSIG fires when the thread that forked ends: children are
	// started from this goroutine, on a thread that lives as long as we do.
	runtime.LockOSThread()
	os.Exit(newEnv().main(os.Args[1:]))
}
