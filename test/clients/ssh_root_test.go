// SPDX-License-Identifier: Apache-2.0

//go:build root

package clients

import (
	"net/http"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

var gitHub = api{provider: "github", host: "github.com", variable: "GITHUB_TOKEN", prefix: "ghp_", length: 40}

// against is a configuration of the user's that means ssh, a keyring, a proxy
// and signatures: each works outside, and none can inside.
const against = `[user]
	name = agent
	email = agent@example.org
[url "git@github.com:"]
	insteadOf = https://github.com/
[url "ssh://git@github.com/"]
	pushInsteadOf = https://github.com/
[credential]
	helper = !false
[http]
	proxy = http://127.0.0.1:3128
[commit]
	gpgsign = true
[tag]
	gpgsign = true
[push]
	gpgSign = true
`

// TestGitByItsSSHRemotes proves that remotes written for ssh are cloned and
// pushed to over https with the placeholder, submodules among them, although
// the user's own configuration is against it; and that the one notice about
// signatures is all there is to say.
func TestGitByItsSSHRemotes(t *testing.T) {
	tr := newTrial(t, gitHub)
	repository := rig.NewRepository(t, "acme/private.git", "hello from "+tr.upstream.Answer)
	part := rig.NewRepository(t, "acme/part.git", "part of "+tr.upstream.Answer)
	mux := http.NewServeMux()
	mux.Handle("/acme/private.git/", tr.upstream.Git(repository, tr.key))
	mux.Handle("/acme/part.git/", tr.upstream.Git(part, tr.key))
	tr.upstream.Serve("github.com", mux)
	tr.world.Give(rig.Home+"/.gitconfig", []byte(against), 0o600)
	tr.run("/bin/sh", "-ec", `
		git clone -q git@github.com:acme/private.git copy
		cd copy
		git submodule --quiet add git@github.com:acme/part.git part
		git commit -qm second
		git tag -a v1 -m v1
		git push -q origin HEAD:refs/heads/main v1
		git clone -q --recurse-submodules ssh://git@github.com/acme/private.git ../again
		cat ../again/README ../again/part/README`)
	if notice := "git does not sign here"; strings.Count(tr.result.Stderr, "phantom-ns:") != 1 || !strings.Contains(tr.result.Stderr, notice) {
		t.Errorf("want the notice and no other: %v", tr.result)
	}
	tr.result.Stderr = ""
	tr.check(2)
	if got := repository.Read("v1", ".gitmodules"); !strings.Contains(got, "git@github.com:acme/part.git") {
		t.Errorf("the push did not arrive, or is not what the user wrote: %q", got)
	}
}
