// SPDX-License-Identifier: Apache-2.0

//go:build root

package clients

import (
	"testing"
)

// TestGitHubCLI asks GitHub's API by gh's own command and by its name alone.
func TestGitHubCLI(t *testing.T) {
	tr := newTrial(t, github)
	tr.flags = []string{"--profile", "gh"}
	tr.run("gh", "api", "repos/acme/private", "--jq", ".description")
	tr.check(1)
	for _, e := range tr.upstream.Exchanges("api.github.com") {
		if e.Header.Get("Authorization") != "token "+tr.key {
			t.Errorf("%s %s", e.Method, e.Target)
		}
	}
}
