// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What the user's own tools run later without being asked, in the working
// directory and in the state directories of agents. The agent may write there
// for real; what it changed is told when the session ends.
var (
	runsInProject = []string{
		".git/config", ".git/hooks/*", ".gitmodules", ".gitattributes", ".husky/*", ".pre-commit-config.yaml", ".envrc", ".env",
		".vscode/*.json", ".idea/*.xml", ".devcontainer/*", ".mcp.json", ".claude/*.json", ".claude/hooks/*", ".cursor/*.json",
		".codex/*.toml", ".gemini/*.json", ".npmrc", ".yarnrc.yml", "sitecustomize.py", "conftest.py",
	}
	runsInHome = []string{
		".claude.json", ".claude/*.json", ".claude/hooks/*", ".claude/plugins/*", ".codex/*.toml", ".gemini/*.json",
		".copilot/*.json", ".cursor/*.json", ".config/opencode/*", ".config/opencode/plugin/*", ".config/goose/*.yaml",
	}
)

// maxAutorun bounds how many files are looked at.
const maxAutorun = 2000

// stamp is enough of a file to see that it is another one, or has changed:
// nobody but root can set the change time.
type stamp struct {
	inode   uint64
	size    int64
	changed time.Time
}

// stampAutorun takes stock of the files that run by themselves.
func (s *Session) stampAutorun() map[string]stamp {
	stamps := make(map[string]stamp)
	for dir, patterns := range map[string][]string{s.config.Dir: runsInProject, s.config.User.Home: runsInHome} {
		for _, pattern := range patterns {
			names, _ := filepath.Glob(filepath.Join(globQuote(dir), pattern)) // the patterns are well formed
			for _, name := range names {
				var st unix.Stat_t
				if len(stamps) < maxAutorun && unix.Lstat(name, &st) == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
					stamps[name] = stamp{st.Ino, st.Size, time.Unix(st.Ctim.Unix())}
				}
			}
		}
	}
	return stamps
}

// globQuote makes a path of the user's literal in a pattern.
func globQuote(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// maxTold is how many changed files are named; the summary ends on somebody's
// screen.
const maxTold = 4

// tellAutorun names the files that run by themselves and are not what they were
// when the session began.
func (s *Session) tellAutorun(before map[string]stamp) {
	if !s.config.Attended {
		return // what a script prints is somebody's input
	}
	var changed []string
	for name, now := range s.stampAutorun() {
		if was, existed := before[name]; !existed || was != now {
			changed = append(changed, name)
		}
	}
	if len(changed) == 0 {
		return
	}
	slices.Sort(changed)
	for _, name := range changed[:min(len(changed), maxTold)] {
		s.config.Notify(fmt.Sprintf("changed by the agent, and run by your own tools later: %q", name))
	}
	if rest := len(changed) - maxTold; rest > 0 {
		s.config.Notify(fmt.Sprintf("and %d more of that kind", rest))
	}
}
