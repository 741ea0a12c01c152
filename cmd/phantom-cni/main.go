// SPDX-License-Identifier: Apache-2.0

// Command phantom-cni is the CNI plugin of phantom-ns: it asks the node's
// daemon to make a session of a container's network namespace before anything
// runs in it.
//
// It guarantees that
//
//   - ADD succeeds only when the daemon says that every mechanism is in force;
//     a daemon that does not answer, a policy it does not know and a
//     configuration with a key that means nothing are errors;
//   - the result of the plugin before it leaves as it came, byte for byte;
//   - DEL succeeds whatever is gone already, the daemon included, which ends
//     what it holds of dead namespaces when it starts;
//   - it changes nothing by itself: it holds no state, opens no namespace and
//     has no say in what a policy allows.
//
// The protocol is CNI 1.1, and the versions from 0.3.1 on, in which a plugin
// can be chained.
package main

import (
	"context"
	"os"
)

// version is set by the linker.
var version = "unknown"

func main() {
	os.Exit(run(context.Background(), os.Stdin, os.Stdout))
}
