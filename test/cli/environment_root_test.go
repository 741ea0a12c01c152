// SPDX-License-Identifier: Apache-2.0

//go:build root

package cli

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/phantom-ns/phantom-ns/netns/sandbox"
	"github.com/phantom-ns/phantom-ns/test/rig"
)

// TestEnvironmentIsAnAllowList: of what stands in the caller's environment the
// agent gets what a terminal and a language need; no key, in whatever variable,
// nothing that leads a client elsewhere, and nothing that changes a program.
func TestEnvironmentIsAnAllowList(t *testing.T) {
	w := rig.New(t)
	stored, own := rig.CanaryOf(t, "sk-proj-", 164), rig.CanaryOf(t, "sk-proj-", 164)
	if r := w.Command(strings.NewReader(stored), "secret", "set", "openai"); r.Exit != 0 {
		t.Fatal(r)
	}
	r := w.Run(rig.Session{With: []string{"openai"}, Args: []string{"env"}, Env: []string{
		"OPENAI_API_KEY=" + own, "ANTHROPIC_API_KEY=" + rig.CanaryOf(t, "sk-ant-api03-", 108),
		"AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "AWS_PROFILE=work",
		"OPENAI_BASE_URL=https://evil.test/v1", "ANTHROPIC_BASE_URL=https://evil.test", "OPENAI_ORG_ID=org-1",
		"https_proxy=http://127.0.0.1:3128", "ALL_PROXY=socks5://127.0.0.1:1080", "NO_PROXY=*",
		"LD_LIBRARY_PATH=/tmp", "NODE_OPTIONS=--require /tmp/x.js", "PYTHONPATH=/tmp", "GIT_SSH_COMMAND=/tmp/x", "BASH_ENV=/tmp/x",
		"SSH_AUTH_SOCK=/tmp/agent", "DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1000/bus", "DISPLAY=:0", "TMUX=/tmp/tmux-1000/default,1,0",
		"GODEBUG=http2debug=2", "SSLKEYLOGFILE=/tmp/keys", "SSL_CERT_FILE=/tmp/roots.pem", "MY_OWN=word",
		"PATH=/usr/local/bin:/usr/bin:/bin:/root/bin:bin", "EDITOR=vi", "LC_TIME=C", "AWS_REGION=eu-central-1",
		"PAGER=" + rig.CanaryOf(t, "ghp_", 40), "LC_IDENTIFICATION=" + rig.CanaryOf(t, "hf_", 37), // in variables that pass
	}})
	if r.Exit != 0 {
		t.Fatal(r)
	}
	got := strings.Split(strings.TrimSpace(r.Stdout), "\n")
	slices.Sort(got)
	placeholder := slices.IndexFunc(got, func(v string) bool { return strings.HasPrefix(v, "OPENAI_API_KEY=sk-proj-") })
	if placeholder < 0 || strings.Contains(r.Stdout, own) || strings.Contains(r.Stdout, stored) {
		t.Fatalf("no placeholder: %q", got)
	}
	want := append(sandbox.TrustEnv(), got[placeholder],
		"AWS_REGION=eu-central-1", "EDITOR=vi", "HOME="+rig.Home, "LANG=C.UTF-8", "LC_TIME=C", "LOGNAME="+rig.User,
		"PATH=/usr/local/bin:/usr/bin:/bin", "SHELL=/bin/sh", "TERM=dumb", "USER="+rig.User, "XDG_RUNTIME_DIR=/run/user/"+strconv.Itoa(rig.UID))
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want (-), the agent has (+):\n%s", diff)
	}
}
