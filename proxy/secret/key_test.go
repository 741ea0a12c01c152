// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"fmt"
	"io"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// keyStage is this test binary as a user who puts a key into their keyring:
// argv = stage and its description; the payload on stdin, "" for its removal.
const keyStage = "secret.test: key"

func keyMain() {
	runtime.LockOSThread()
	if err := putKey(os.Args[1]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

func putKey(description string) error {
	payload := make([]byte, 4096)
	n, err := os.Stdin.Read(payload)
	if err != nil && err != io.EOF {
		return err
	}
	if n > 0 {
		_, err = unix.AddKey("user", description, payload[:n], unix.KEY_SPEC_USER_KEYRING)
		return err
	}
	_, err = unix.KeyctlInt(unix.KEYCTL_CLEAR, unix.KEY_SPEC_USER_KEYRING, 0, 0, 0)
	return err
}
