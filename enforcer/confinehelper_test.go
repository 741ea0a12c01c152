// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"errors"
	"maps"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns/sandbox/fence"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

// helperNeeds are those of helpers that run no program. A store is the folder
// that the process is started in.
var helperNeeds = map[string]secret.Needs{
	"store":    {Store: "."},
	"lease":    {Store: ".", Write: true},
	"file":     {Files: true},
	"service":  {Bus: true},
	"keyring":  {Keyring: true},
	"terminal": {Store: ".", Terminal: true},
	"env":      {},
}

// helperAttempts are beside those of the proxy.
var helperAttempts = map[string]func() error{
	"own folder":         openFile(".", os.O_RDONLY),
	"own file to make":   openFile("store.age.new", os.O_WRONLY|os.O_CREATE),
	"lock":               bare(unix.SYS_FLOCK, 99, unix.LOCK_EX, 0),
	"session keyring":    bare(unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0),
	"another's keyring":  bare(unix.SYS_KEYCTL, unix.KEYCTL_CHOWN, 0, 0),
	"ask a terminal":     bare(unix.SYS_IOCTL, 99, unix.TCGETS, 0),
	"type at a terminal": bare(unix.SYS_IOCTL, 99, unix.TIOCSTI, 0),
	"own ids":            bare(unix.SYS_GETEUID, 0, 0, 0),
}

// outside is EACCES where the kernel has Landlock, and nothing elsewhere.
const outside = "outside"

// everyHelper is what all of them find, but where their own list says otherwise.
var everyHelper = map[string]string{
	"execute": killed, "fork": killed, "ptrace": killed, "namespace": killed, "keys": killed,
	"tcp": "EPERM", "unix socket": "EPERM", "file to write": "EPERM", "own file to make": "EPERM", "lock": "EPERM",
	"memory with code": "EPERM", "be dumpable": "EPERM", "ask a terminal": "EPERM", "signal to a parent": "EPERM",
	"read hosts": outside, "own folder": outside, "own ids": fine, "anonymous memory": fine,
}

// P1, P2: a helper that was taken over by what it reads has what its work needs
// and no more: no other program, no network, no file but its own.
func TestConfinedHelpersReachNothing(t *testing.T) {
	for role, own := range map[string]map[string]string{
		"env":      {},
		"mask":     {"read hosts": fine, "own folder": fine},
		"file":     {"read hosts": fine, "own folder": fine},
		"store":    {"own folder": fine},
		"lease":    {"own folder": fine, "own file to make": fine, "lock": "EBADF", "file to write": outside},
		"service":  {"unix socket": fine, "tcp": "EAFNOSUPPORT"},
		"keyring":  {"session keyring": fine, "another's keyring": "EPERM", "keys": "EPERM"},
		"terminal": {"own folder": fine, "ask a terminal": "EBADF", "type at a terminal": "EPERM"},
	} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			wants := maps.Clone(everyHelper)
			maps.Copy(wants, own)
			for name, want := range wants {
				if want == outside {
					want = outcomeOutside(t)
				}
				attemptConfined(t, role, name, want)
			}
		})
	}
}

func outcomeOutside(t *testing.T) string {
	t.Helper()
	rules, err := fence.NewRuleset(fence.Read, 0)
	if errors.Is(err, fence.ErrNoLandlock) {
		return fine
	}
	if err != nil {
		t.Fatal(err)
	}
	rules.Close()
	return "EACCES"
}
