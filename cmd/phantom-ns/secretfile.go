// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/proxy/mint"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

// maxLoginFile bounds what --from-file reads, in bytes.
const maxLoginFile = 1 << 20

var errNoLogin = errors.New("the file holds no login of this provider")

// readSecretFile reads a credential from a file. Of a provider whose tool keeps
// a login in a file of its own, that login is taken out of it; any other file
// holds the credential alone.
func readSecretFile(name, provider string) (secret.Value, error) {
	// A FIFO with nobody at its other end would wait for ever.
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return secret.Value{}, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return secret.Value{}, errors.Join(err, fmt.Errorf("read %q: not a regular file", name))
	}
	login := policy.LoginOf(provider)
	if login == nil {
		return secret.Read(f)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxLoginFile))
	if err != nil {
		return secret.Value{}, err
	}
	defer clear(text)
	if trimmed := bytes.TrimSpace(text); len(trimmed) == 0 || trimmed[0] != '{' {
		return secret.Read(bytes.NewReader(text)) // a token that lasts, alone
	}
	l, err := mint.Import(text, login.File.Access, login.File.Refresh, login.File.ID, login.File.Expires)
	if err != nil {
		return secret.Value{}, fmt.Errorf("read %q: %w: want what %s has", name, errNoLogin, login.File.Path)
	}
	return l.Encode()
}
