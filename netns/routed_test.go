// SPDX-License-Identifier: Apache-2.0

package netns_test

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns"
	"github.com/phantom-ns/phantom-ns/netns/sandbox/fence"
)

// refuseBind is set for the process in which bind(2) is refused.
const refuseBind = "TEST_REFUSE_BIND"

// TestLostDescriptorIsClosedOnce: what netlink has closed is not closed again
// when its number is another file's. In a process of its own, which the test is
// started again as: its collector ends.
func TestLostDescriptorIsClosedOnce(t *testing.T) {
	if os.Getenv(refuseBind) == "" {
		again := exec.Command("/proc/self/exe", "-test.run", "^"+t.Name()+"$")
		again.Env = append(os.Environ(), refuseBind+"=1")
		if out, err := again.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	runtime.LockOSThread()
	filter := fence.New()
	filter.Answer(fence.Deny(unix.ENOMEM), unix.SYS_BIND)
	filter.End(fence.Allow)
	if err := errors.Join(unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), fence.Install(filter)); err != nil {
		t.Fatal(err)
	}
	if _, err := netns.HasLink(1); !errors.Is(err, unix.ENOMEM) {
		t.Fatalf("with bind refused: %v", err)
	}
	other, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	for range 32 { // as many collections, were there any
		_ = make([]byte, 4<<20)
		if _, err := other.Stat(); err != nil {
			t.Fatalf("another file's descriptor was closed: %v", err)
		}
	}
}
