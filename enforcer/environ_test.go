// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"slices"
	"strings"
	"testing"
)

func TestL10EnvironIsAnAllowList(t *testing.T) {
	caller := map[string]string{
		"TERM": "xterm", "LC_ALL": "C.UTF-8", "PATH": "/opt/tools:/root/bin:relative:/usr/bin",
		"OPENAI_API_KEY": "sk-proj-0123456789abcdef", "LD_PRELOAD": "/tmp/x.so", "SSH_AUTH_SOCK": "/tmp/agent",
		"GODEBUG": "http2debug=2", "SSLKEYLOGFILE": "/tmp/keys", "HTTPS_PROXY": "http://127.0.0.1:1", "SUDO_UID": "1000",
		"EDITOR": "ghp_0123456789abcdef0123456789abcdef0123",
	}
	u := User{Name: "ann", UID: 1000, Home: "/home/ann", Shell: "/bin/sh"}
	got := agentEnviron(caller, u, []string{"OPENAI_API_KEY=placeholder", "SSL_CERT_FILE=/run/phantom-ns/bundle.pem"})
	want := []string{
		"HOME=/home/ann", "LC_ALL=C.UTF-8", "LOGNAME=ann", "OPENAI_API_KEY=placeholder", "PATH=/opt/tools:/usr/bin",
		"SHELL=/bin/sh", "SSL_CERT_FILE=/run/phantom-ns/bundle.pem", "TERM=xterm", "USER=ann", "XDG_RUNTIME_DIR=/run/user/1000",
	}
	if !slices.Equal(got, want) {
		t.Errorf("environment:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestAgentPathFallsBack(t *testing.T) {
	for _, path := range []string{"", ":", "/root", "/root/go/bin:bin"} {
		if got := agentPath(path); got != fallbackPath {
			t.Errorf("agentPath(%q) = %q, want the fallback", path, got)
		}
	}
}

func TestHostsFromStub(t *testing.T) {
	tests := map[string]struct{ in, want string }{
		"replaced": {"passwd: files sss\nhosts: files mdns4_minimal [NOTFOUND=return] resolve dns\ngroup: files\n", "passwd: files sss\ngroup: files\nhosts: files dns\n"},
		"indented": {"  hosts:\tresolve\n", "hosts: files dns\n"},
		"no end":   {"passwd: files", "passwd: files\nhosts: files dns\n"},
		"none":     {"", "hosts: files dns\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := string(hostsFromStub([]byte(test.in))); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestCheckRelease(t *testing.T) {
	for release, ok := range map[string]bool{
		"5.9.16": false, "4.19.0-27-amd64": false, "5.10.0-30-amd64": true, "6.18.44-fc": true, "10.0": true, "": false, "linux": false,
	} {
		if err := checkRelease(release); (err == nil) != ok {
			t.Errorf("checkRelease(%q) = %v", release, err)
		}
	}
}
