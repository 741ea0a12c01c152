// SPDX-License-Identifier: Apache-2.0

//go:build root

package clients

import (
	"net/http"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// TestC11GitClonesAndPushes proves the challenge flow: git asks bare, upstream
// itself answers 401, git sends the placeholder as Basic, and upstream gets the
// real token; fetch and push alike. The remote is as a user would type it.
func TestC11GitClonesAndPushes(t *testing.T) {
	for _, c := range []struct{ name, url string }{
		{"from the credential helper", "https://github.com/acme/private.git"},
		{"from the URL", "https://x-access-token:$GITHUB_TOKEN@github.com/acme/private.git"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := newTrial(t, gitHub)
			repository := rig.NewRepository(t, "acme/private.git", "hello from "+tr.upstream.Answer)
			tr.upstream.Serve("github.com", tr.upstream.Git(repository, tr.key))
			tr.run("/bin/sh", "-ec", `
				git clone -q "`+c.url+`" copy
				cd copy
				cat README
				head -c 300000 /dev/urandom | od -An -x > big
				git add big
				git -c user.name=agent -c user.email=agent@example.org commit -qm second
				git push -q origin HEAD:refs/heads/agent
				git ls-remote origin agent`)
			tr.check(1)
			if repository.Read("agent", "README") != "hello from "+tr.upstream.Answer || len(repository.Read("agent", "big")) < 300000 {
				t.Error("the push did not arrive")
			}
			checkChallenge(t, tr)
		})
	}
}

// checkChallenge wants the 401 to come from upstream, after a request without
// any credential.
func checkChallenge(t *testing.T, tr *trial) {
	t.Helper()
	for _, e := range tr.upstream.Exchanges("github.com") {
		bare := e.Header.Get("Authorization") == ""
		if bare != (e.Status == http.StatusUnauthorized) {
			t.Errorf("%s %s: bare %v, status %d", e.Method, e.Target, bare, e.Status)
		}
		if strings.Contains(e.Target, "@") {
			t.Errorf("user information in the target %q", e.Target)
		}
	}
	if first := tr.upstream.Exchanges("github.com")[0]; first.Status != http.StatusUnauthorized {
		t.Errorf("git was not challenged: %+v", first)
	}
}
