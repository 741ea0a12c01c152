// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// credentialsParent holds the directories that systemd makes for the
// credentials of a unit ($CREDENTIALS_DIRECTORY, systemd.exec(5)). Another
// place would be whoever set the variable's.
const credentialsParent = "/run/credentials/"

// Where system credentials are kept: systemd-creds(1), systemd.exec(5).
var (
	plainStores     = []string{"/etc/credstore", "/run/credstore", "/usr/local/lib/credstore", "/usr/lib/credstore"}
	encryptedStores = []string{"/etc/credstore.encrypted", "/run/credstore.encrypted", "/usr/local/lib/credstore.encrypted", "/usr/lib/credstore.encrypted"}
)

const systemdCreds = "/usr/bin/systemd-creds"

// fetchSystemd reads a credential that systemd passed to the unit we are in,
// else one of the machine's stores, which systemd-creds decrypts.
func fetchSystemd(ctx context.Context, name string, env Env) (Value, error) {
	var places []string
	if dir := env.Credentials; strings.HasPrefix(dir, credentialsParent) && filepath.Clean(dir) == dir {
		places = append(places, dir)
	}
	for _, dir := range append(places, plainStores...) {
		v, err := fetchFile(filepath.Join(dir, name), 0)
		if !errors.Is(err, fs.ErrNotExist) {
			return v, err
		}
	}
	for _, dir := range encryptedStores {
		path := filepath.Join(dir, name+".cred")
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := rootOnly(path); err != nil {
			return Value{}, err
		}
		if err := rootOnly(systemdCreds); err != nil {
			return Value{}, err
		}
		return run(ctx, []string{systemdCreds, "decrypt", "--name=" + name, path, "-"}, env)
	}
	return Value{}, ErrElsewhere
}
