// SPDX-License-Identifier: Apache-2.0

//go:build root

package secret

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// putKeyAs has nobody put a key into the user keyring, or clear it.
func putKeyAs(t *testing.T, description string, payload []byte) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("wants root, to become another user")
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args, cmd.Stdin = []string{keyStage, description}, bytes.NewReader(payload)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: asNobody}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("put key: %v: %s", err, out)
	}
}

// The helper of another user under sudo, whose session keyring is root's, reads
// the invoker's key, and root's helper does not try.
func TestKeyringOfTheUser(t *testing.T) {
	c := newCanary(t)
	name := fmt.Sprintf("phantom-ns test/%d", os.Getpid())
	putKeyAs(t, name, append(c, '\n'))
	t.Cleanup(func() { putKeyAs(t, name, nil) })
	o := ofNobody(t, "keyring:user/"+name)
	if err := errors.Join(o.err, o.factsErr, o.exit); err != nil {
		t.Fatal(err, o.output)
	}
	c.same(t, o.entry.Value)
	for text, want := range map[string]error{
		"keyring:user/phantom-ns test/none": ErrAbsent,
		"keyring:big_key/" + name:           ErrAbsent,
	} {
		if o := ofNobody(t, text); !errors.Is(o.factsErr, want) {
			t.Errorf("%s: %v, want %v", text, o.factsErr, want)
		}
	}
	o = helper{}.run(t, request(t, "keyring:user/"+name, Env{UID: nobody}))
	if !errors.Is(o.factsErr, ErrRoot) {
		t.Errorf("as root: %v", o.factsErr)
	}
	putKeyAs(t, name, nil)
	if o := ofNobody(t, "keyring:user/"+name); !errors.Is(o.factsErr, ErrAbsent) {
		t.Errorf("cleared: %v", o.factsErr)
	}
}
