// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"iter"

	"golang.org/x/sys/unix"
)

// maxBundle bounds a system bundle; Mozilla's roots are 220 KiB.
const maxBundle = 16 << 20

// ErrNoRoots is returned by SystemRoots on a host without a usable bundle.
var ErrNoRoots = errors.New("no system bundle that root alone can write")

// SystemRoots returns the host's PEM bundle and the path it was found at, below root.
// Because the proxy verifies upstreams with it, everything on the way and the file itself must
// be root's and writable by nobody else. Call it in the host's mount namespace.
func SystemRoots(root string) ([]byte, string, error) {
	return systemRoots(root, 0)
}

func systemRoots(root string, owner uint32) ([]byte, string, error) {
	if root == "" {
		root = "/"
	}
	t, err := openTree(root, owner)
	if err != nil {
		return nil, "", err
	}
	defer t.close()
	reasons := []error{ErrNoRoots}
	for _, name := range bundles {
		data, err := t.readRoots(name)
		if err == nil {
			return data, name, nil
		}
		if !missing(err) {
			reasons = append(reasons, err)
		}
	}
	return nil, "", fmt.Errorf("find system roots: %w", errors.Join(reasons...))
}

func (t *tree) readRoots(name string) ([]byte, error) {
	n, err := t.open(name)
	if err != nil {
		return nil, err
	}
	defer n.release()
	if !n.trusted || n.stat.Uid != t.owner || n.stat.Mode&(unix.S_IWGRP|unix.S_IWOTH) != 0 {
		return nil, &refusal{n.path, "others than root can write it"}
	}
	data, err := n.read(maxBundle)
	if err != nil {
		return nil, err
	}
	for range certificates(data) { // to read them all takes 5 ms of each start
		return data, nil
	}
	return nil, &refusal{n.path, "holds no certificate"}
}

// certificates yields the DER of every block that is a certificate. One root that Go's parser
// refuses must not cost the others.
func certificates(data []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
			if block.Type != "CERTIFICATE" {
				continue
			}
			if _, err := x509.ParseCertificate(block.Bytes); err == nil && !yield(block.Bytes) {
				return
			}
		}
	}
}
