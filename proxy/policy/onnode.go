// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"
)

// notOnNode are the keys that a node's policy cannot have, and why.
var notOnNode = map[string]string{
	"profile":    "a container has no profile; declare what it needs under credentials and egress",
	"filesystem": "a container's files are its runtime's business",
	"permit":     "a container's rights are its runtime's business",
	"publish":    "a container's ports are published by its runtime",
	"strict":     "no files are searched for the credentials of containers",
}

// usersOwn are the sources that belong to the user of a session: a node has none.
var usersOwn = []string{"env", "exec", "secret-service", "keyring"}

// CheckNode refuses what makes no sense in the policy of a node, with the line
// at which it stands. The error is a [*ResolveError].
func (f *File) CheckNode() error {
	for _, key := range []string{"profile", "filesystem", "permit", "publish", "strict"} {
		if rule, given := f.given[key]; given {
			return &ResolveError{rule, key + ": not in the policy of a node", notOnNode[key]}
		}
	}
	for i := range f.Credentials {
		d := &f.Credentials[i]
		if len(d.Files) > 0 {
			return &ResolveError{d.Rule, fmt.Sprintf("credential %q: files: not in the policy of a node", d.Name), notOnNode["filesystem"]}
		}
		if err := checkNodeSource(d.Rule, fmt.Sprintf("credential %q", d.Name), d.From); err != nil {
			return err
		}
	}
	return checkNodeSource(f.Upstream.Rule, "upstream", f.Upstream.From)
}

func checkNodeSource(rule, what, from string) error {
	if kind, _, _ := strings.Cut(from, ":"); slices.Contains(usersOwn, kind) {
		return &ResolveError{rule, fmt.Sprintf("%s: %s: is a user's source, and a node has no user", what, kind), "use store:, file: or systemd:"}
	}
	return nil
}
