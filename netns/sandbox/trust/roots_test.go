// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"errors"
	"os"
	"slices"
	"testing"
)

func TestSystemRoots(t *testing.T) {
	const fedora, debian = "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/certs/ca-certificates.crt"
	for name, c := range map[string]struct {
		plant func(w *world, pem string)
		want  string
	}{
		"debian": {func(w *world, pem string) { w.file(debian, pem) }, debian},
		"fedora": {func(w *world, pem string) { w.file(fedora, pem) }, fedora},
		"linked": {func(w *world, pem string) {
			w.file("/nix/store/x/ca.crt", pem)
			w.link(debian, "/nix/store/x/ca.crt")
		}, debian},
		"empty bundle gives way": {func(w *world, pem string) {
			w.file(debian, "# nothing\n")
			w.file(fedora, pem)
		}, fedora},
		"writable bundle gives way": {func(w *world, pem string) {
			w.file(debian, pem)
			w.chmod(debian, 0o666)
			w.file(fedora, pem)
		}, fedora},
		"bundle in a writable directory": {func(w *world, pem string) {
			w.file(debian, pem)
			w.chmod("/etc/ssl", 0o777)
		}, ""},
		"link into a writable directory": {func(w *world, pem string) {
			w.file("/tmp/ca.crt", pem)
			w.chmod("/tmp", 0o777)
			w.link(debian, "/tmp/ca.crt")
		}, ""},
		"none": {func(*world, string) {}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c.plant(w, string(w.ca.pem()))
			data, at, err := systemRoots(w.dir, uint32(os.Getuid()))
			if c.want == "" {
				if !errors.Is(err, ErrNoRoots) {
					t.Fatalf("found %s, error %v", at, err)
				}
				return
			}
			if err != nil || at != c.want || string(data) != string(w.ca.pem()) {
				t.Fatalf("found %q, error %v", at, err)
			}
		})
	}
}

func TestOneBadRootCostsNoOther(t *testing.T) {
	w := newWorld(t)
	data := append(encode([]byte("junk")), w.ca.pem()...)
	if list := slices.Collect(certificates(data)); len(list) != 1 {
		t.Fatalf("%d certificates", len(list))
	}
}
