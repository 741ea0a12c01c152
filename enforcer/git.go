// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// gitEnviron configures git without touching a file, so that a clone or a push
// in the session goes by https with a placeholder, whatever the remote is
// written as and whatever the user's own configuration would make of it. What
// GIT_CONFIG_COUNT brings counts after every file (git-config(1), "ENVIRONMENT").
func gitEnviron(spec *policy.Session, user gitConfig) []string {
	var settings [][2]string
	for _, c := range spec.Credentials {
		if len(c.Env) > 0 && takesBasicPassword(c) {
			settings = append(settings, gitHelpers(c)...)
		}
	}
	if hosts := gitHosts(spec); len(hosts) > 0 {
		// A proxy of the user's is out of reach, and the session's own proxy knows
		// how to get out.
		settings = append(settings, [2]string{"http.proxy", ""})
		for _, host := range hosts {
			settings = append(settings, gitRewrites(host, user.rewrites)...)
		}
	}
	if len(settings) > 0 || user.signs {
		for _, name := range []string{"commit.gpgSign", "tag.gpgSign", "tag.forceSignAnnotated", "push.gpgSign"} {
			settings = append(settings, [2]string{name, "false"})
		}
	}
	if len(settings) == 0 {
		return nil
	}
	env := []string{"GIT_CONFIG_COUNT=" + strconv.Itoa(len(settings)), "GIT_TERMINAL_PROMPT=0"}
	for i, s := range settings {
		env = append(env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i, s[0]), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i, s[1]))
	}
	return env
}

func takesBasicPassword(c policy.Credential) bool {
	return slices.Contains(c.Positions, policy.Position{Kind: policy.PositionBasic, Name: policy.BasicPassword})
}

// gitHelpers are credential helpers that print the placeholder from the
// environment, so that the first challenge is answered without a prompt.
func gitHelpers(c policy.Credential) [][2]string {
	// The placeholder itself stays out of git's configuration: a trace of it
	// (GIT_TRACE) would print it, and the variable is there anyway.
	helper := fmt.Sprintf(`!f() { test "$1" = get && printf 'username=x-access-token\npassword=%%s\n' "$%s"; }; f`, c.Env[0])
	var settings [][2]string
	for _, host := range c.Hosts {
		if !strings.HasPrefix(host, "*.") {
			// The empty helper first: it clears those of the user's own
			// configuration, which would ask a keyring out of reach.
			settings = append(settings,
				[2]string{"credential.https://" + host + ".helper", ""},
				[2]string{"credential.https://" + host + ".helper", helper})
		}
	}
	return settings
}

// gitHosts are the hosts that git can reach over https: those of credentials
// that it can send, and those whose rules name what it fetches with.
func gitHosts(spec *policy.Session) []string {
	var hosts []string
	add := func(host string) {
		if host != "" && !strings.HasPrefix(host, "*.") && !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	for _, c := range spec.Credentials {
		if takesBasicPassword(c) {
			for _, host := range c.Hosts {
				add(host)
			}
		}
	}
	for _, e := range spec.Egress {
		if e.Port == 443 && slices.ContainsFunc(e.Allow, func(a policy.Allow) bool { return strings.HasSuffix(a.Glob, "/git-upload-pack") }) {
			add(e.Host)
		}
	}
	return hosts
}

// gitRewrite is an entry of the user's that turns a URL into one for ssh.
type gitRewrite struct{ kind, prefix string } // of kind insteadOf or pushInsteadOf

// afterPrefix is what can follow a prefix in the address of a repository.
const afterPrefix = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~/"

// gitRewrites make https of the ways to write an ssh remote at host. Of several
// entries that fit, git takes the longest, and of equal ones the first, which
// would be the user's: so against each of the user's stands one entry longer by
// a character, for every character there is.
func gitRewrites(host string, user []gitRewrite) [][2]string {
	https := "https://" + host + "/"
	settings := [][2]string{
		{"url." + https + ".insteadOf", "git@" + host + ":"},
		{"url." + https + ".insteadOf", "ssh://git@" + host + "/"},
	}
	for _, r := range user {
		if strings.HasPrefix(https, r.prefix) && https != r.prefix {
			settings = append(settings, [2]string{"url." + https + "." + r.kind, https})
		}
		for _, written := range []string{https, "git@" + host + ":", "ssh://git@" + host + "/"} {
			rest, fits := strings.CutPrefix(r.prefix, written)
			if !fits {
				continue
			}
			for _, next := range afterPrefix {
				settings = append(settings, [2]string{"url." + https + rest + string(next) + "." + r.kind, r.prefix + string(next)})
			}
		}
	}
	return settings
}

// gitConfig is what the user's own configuration of git says that would defeat
// the session's.
type gitConfig struct {
	rewrites []gitRewrite
	signs    bool
}

// maxRewrites bounds what is answered: each entry costs some 130 variables.
const maxRewrites = 8

// readGitConfig reads what git would, as the user, but for what is included
// from there. What is missing or not readable says nothing.
func (s *Session) readGitConfig() *gitReading {
	r := &gitReading{}
	r.asking = asUser(s.config.User, func() {
		for _, name := range []string{"/etc/gitconfig", "~/.config/git/config", "~/.gitconfig", filepath.Join(s.config.Dir, ".git/config")} {
			if data, err := readFile(s.absolute([]string{name})[0], nil); err == nil {
				r.config.read(string(data))
			}
		}
	})
	return r
}

// gitReading is a configuration once it is done.
type gitReading struct {
	*asking
	config gitConfig
}

// gitEnviron waits for [Session.readGitConfig], no longer than for the rest of
// the home, and says what changes for the user.
func (s *Session) gitEnviron(spec *policy.Session) []string {
	var user gitConfig
	select {
	case <-s.git.done:
		user = s.git.config
	case <-time.After(profileDeadline):
	}
	if user.signs {
		s.config.Notify("git does not sign here: the keys stay outside the session")
	}
	return gitEnviron(spec, user)
}

// read takes from one file what counts here (git-config(1), "Syntax").
func (c *gitConfig) read(text string) {
	var section, base string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			head, rest, _ := strings.Cut(line[1:], "]")
			name, quoted, _ := strings.Cut(head, `"`)
			section, base = strings.ToLower(strings.TrimSpace(name)), strings.TrimSuffix(quoted, `"`)
			line = strings.TrimSpace(rest)
		}
		key, value, given := strings.Cut(line, "=")
		key, value = strings.ToLower(strings.TrimSpace(key)), strings.Trim(strings.TrimSpace(value), `"`)
		switch {
		case section == "url" && (key == "insteadof" || key == "pushinsteadof") && isSSH(base) && value != "" && len(c.rewrites) < maxRewrites:
			kind := map[string]string{"insteadof": "insteadOf", "pushinsteadof": "pushInsteadOf"}[key]
			c.rewrites = append(c.rewrites, gitRewrite{kind, value})
		case (section == "commit" || section == "tag") && key == "gpgsign":
			c.signs = !given || slices.Contains([]string{"true", "yes", "on", "1"}, strings.ToLower(value))
		}
	}
}

// isSSH tells whether git would take a URL that begins so to ssh: by its scheme,
// or by the form HOST:PATH (git-fetch(1), "GIT URLS").
func isSSH(base string) bool {
	scheme, _, found := strings.Cut(base, "://")
	if found {
		return slices.Contains([]string{"ssh", "git+ssh", "ssh+git"}, scheme)
	}
	host, _, found := strings.Cut(base, ":")
	return found && !strings.Contains(host, "/")
}
