// SPDX-License-Identifier: Apache-2.0

package trust

import "fmt"

// Files are the stores of a container, whose file system is not looked at: it mounts them where
// its clients may look.
type Files struct {
	CA     []byte // the authority alone
	Bundle []byte // roots and authority
	Java   []byte // the same as a key store
}

// NewFiles makes them of a node's roots, as SystemRoots returned them, and an authority. The same
// arguments give the same bytes.
func NewFiles(roots, authority []byte) (Files, error) {
	ca, err := parseCA(authority)
	if err != nil {
		return Files{}, fmt.Errorf("make trust: %w", err)
	}
	p := &Plan{options: Options{SystemRoots: roots, CA: authority}, ca: ca}
	java, err := writeStore(append([]entry{{sessionAlias, ca.NotBefore, ca.Raw}}, p.rootEntries()...))
	if err != nil {
		return Files{}, fmt.Errorf("make trust: %w", err)
	}
	return Files{CA: authority, Bundle: p.bundle(), Java: java}, nil
}
