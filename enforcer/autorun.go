// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What the user's own tools run later without being asked, in the working
// directory and in the state directories of agents. The agent may write there
// for real; what it changed is told when the session ends. What somebody has
// to call by its name (a Makefile's targets, the tests) is not in the list: it
// is the project, and its changes are read before they are used.
var (
	runsInProject = []string{
		".git/config", ".git/hooks/*", ".git/modules/*/config", ".git/modules/*/hooks/*", ".gitmodules", ".gitattributes",
		".husky/*", ".pre-commit-config.yaml", "lefthook.yml", ".envrc", ".env", ".tool-versions", "mise.toml", ".mise.toml",
		".vscode/*.json", "*.code-workspace", ".idea/*.xml", ".idea/runConfigurations/*", ".devcontainer/*", ".exrc", ".nvimrc", ".nvim.lua",
		".mcp.json", ".claude/*.json", ".claude/hooks/*", ".cursor/*.json", ".codex/*.toml", ".gemini/*.json",
		"package.json", ".npmrc", ".yarnrc.yml", ".pnpmfile.cjs", "sitecustomize.py", "conftest.py", ".cargo/config.toml", "build.rs",
	}
	runsInHome = []string{
		".claude.json", ".claude/*.json", ".claude/hooks/*", ".claude/plugins/*", ".codex/*.toml", ".gemini/*.json",
		".copilot/*.json", ".cursor/*.json", ".config/opencode/*", ".config/opencode/plugin/*", ".config/goose/*.yaml",
	}
)

// What of that no agent edits in its work is read-only. Git edits its own
// configuration when a branch is made, so that stays; with it, a program could
// be named that runs in the place of a hook, and is then told.
var (
	protectedInProject = []string{".git/hooks"}
	protectedInHome    = []string{".claude/hooks"}
)

// protected are the folders to protect. One that is written for real by its own
// name is not: somebody wants it so.
func (s *Session) protected(write []string) []string {
	all := s.absolute(protectedInProject)
	for _, name := range protectedInHome {
		all = append(all, filepath.Join(s.config.User.Home, name))
	}
	return slices.DeleteFunc(all, func(name string) bool { return slices.Contains(write, name) })
}

// maxAutorun bounds how many files are looked at.
const maxAutorun = 2000

// stamp is enough of a file to see that it is another one, or has changed:
// nobody but root can set the change time. Of a file with much else in it, what
// counts is the settings that run something.
type stamp struct {
	inode    uint64
	size     int64
	changed  time.Time
	settings string
}

// stampAutorun takes stock of the files that run by themselves, as the user,
// for somebody to be told.
func (s *Session) stampAutorun() (stamps map[string]stamp) {
	if s.config.Attended {
		<-asUser(s.config.User, func() { stamps = s.stamps() }).done
	}
	return stamps
}

func (s *Session) stamps() map[string]stamp {
	stamps := make(map[string]stamp)
	for dir, patterns := range map[string][]string{s.config.Dir: runsInProject, s.config.User.Home: runsInHome} {
		for _, pattern := range patterns {
			names, _ := filepath.Glob(filepath.Join(globQuote(dir), pattern)) // the patterns are well formed
			for _, name := range names {
				if st, ok := stampOf(name); ok && len(stamps) < maxAutorun {
					stamps[name] = st
				}
			}
		}
	}
	return stamps
}

func stampOf(name string) (stamp, bool) {
	var st unix.Stat_t
	if unix.Lstat(name, &st) != nil || st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return stamp{}, false
	}
	if settings := settingsOf(name); settings != nil && st.Mode&unix.S_IFMT == unix.S_IFREG {
		if data, err := readFile(name, nil); err == nil {
			if text, ok := settings(data); ok {
				return stamp{settings: text}, text != ""
			}
		}
	}
	return stamp{inode: st.Ino, size: st.Size, changed: time.Unix(st.Ctim.Unix())}, true
}

// settingsOf returns what reads, of a file that is edited all the time, the
// settings that run something by themselves. False: it does not parse.
func settingsOf(name string) func(data []byte) (string, bool) {
	switch {
	case strings.HasSuffix(name, "/.git/config"), strings.Contains(name, "/.git/modules/") && strings.HasSuffix(name, "/config"):
		return gitSettings
	case strings.HasSuffix(name, "/package.json"):
		return installScripts
	}
	return nil
}

// gitRuns are the keys of git's configuration that name a program to run, a
// place with such keys, or where to connect instead (git-config(1)).
var gitRuns = []string{
	"core.hookspath", "core.fsmonitor", "core.sshcommand", "core.editor", "core.pager", "core.askpass", "core.gitproxy",
	"core.alternaterefscommand", "core.attributesfile", "core.worktree", "sequence.editor", "include.path", "includeif.*", "alias.*",
	"filter.*", "diff.*", "merge.*", "difftool.*", "mergetool.*", "pager.*", "credential.*", "gpg.*", "url.*", "http.*", "protocol.*",
	"remote.*.vcs", "remote.*.uploadpack", "remote.*.receivepack", "submodule.*.update", "trailer.*", "interactive.difffilter",
	"uploadpack.packobjectshook", "extensions.*", "browser.*", "man.*", "web.*", "init.templatedir", "sendemail.*", "imap.*",
}

// gitSettings returns those settings of a git configuration.
func gitSettings(data []byte) (string, bool) {
	section := ""
	var out strings.Builder
	continued := false
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if continued {
			out.WriteString(line + "\n")
		}
		if continued = continued && strings.HasSuffix(line, `\`); continued || line == "" {
			continue
		}
		if strings.HasPrefix(line, "[") {
			name, rest, closed := strings.Cut(line[1:], "]")
			if !closed {
				return "", false
			}
			section = strings.ToLower(strings.NewReplacer(` "`, ".", `"`, "").Replace(name))
			line = strings.TrimSpace(rest)
		}
		key, _, _ := strings.Cut(line, "=")
		if runs(section + "." + strings.ToLower(strings.TrimSpace(key))) {
			out.WriteString(section + " " + line + "\n")
			continued = strings.HasSuffix(line, `\`)
		}
	}
	return out.String(), true
}

func runs(key string) bool {
	return slices.ContainsFunc(gitRuns, func(pattern string) bool {
		head, tail, wild := strings.Cut(pattern, "*")
		return key == pattern || wild && strings.HasPrefix(key, head) && strings.HasSuffix(key, tail)
	})
}

// installHooks are the scripts that npm and its like run as they install
// (npm's scripts(7), "Life Cycle Scripts").
var installHooks = []string{
	"preinstall", "install", "postinstall", "prepublish", "preprepare", "prepare", "postprepare", "dependencies", "prepack", "postpack",
}

// installScripts returns those of a package.json.
func installScripts(data []byte) (string, bool) {
	var file struct{ Scripts map[string]json.RawMessage }
	if json.Unmarshal(data, &file) != nil {
		return "", false
	}
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(file.Scripts)) {
		if slices.Contains(installHooks, name) {
			fmt.Fprintf(&out, "%s %s\n", name, file.Scripts[name])
		}
	}
	return out.String(), true
}

// globQuote makes a path of the user's literal in a pattern.
func globQuote(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// maxTold is how many changed files are named; the summary ends on somebody's
// screen.
const maxTold = 4

// autorunHead is the line above the files.
const autorunHead = "changed by the agent, and run by your own tools without asking:"

// changedSince names the files that run by themselves and are not what they
// were when the session began, in at most two lines.
func (s *Session) changedSince(stamps map[string]stamp) []string {
	var changed []string
	for name, now := range stamps {
		if was, existed := s.autorun[name]; !existed || was != now {
			changed = append(changed, name)
		}
	}
	if len(changed) == 0 {
		return nil
	}
	slices.Sort(changed)
	var named []string
	for _, name := range changed[:min(len(changed), maxTold)] {
		named = append(named, fmt.Sprintf("%q", strings.TrimPrefix(name, s.config.Dir+"/")))
	}
	line := "  " + strings.Join(named, ", ")
	if rest := len(changed) - maxTold; rest > 0 {
		line += fmt.Sprintf(" and %d more", rest)
	}
	return []string{autorunHead, line}
}
