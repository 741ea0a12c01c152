// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// passed are the variables that the agent inherits by name. Everything else
// stays outside: an allow-list cannot forget a provider's variable.
var passed = []string{
	"TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TERM_PROGRAM", "TERM_PROGRAM_VERSION",
	"LANG", "LANGUAGE", "TZ", "COLUMNS", "LINES", "EDITOR", "VISUAL", "PAGER", "LESS", "CI",
	"VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV", "PYENV_ROOT", "NVM_DIR", "GOPATH", "GOFLAGS", "GOTOOLCHAIN",
	"AWS_REGION", "AWS_DEFAULT_REGION",
	"CARGO_HOME", "RUSTUP_HOME", "JAVA_HOME", "NODE_ENV", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE",
}

// passedPrefixes are inherited by prefix.
var passedPrefixes = []string{"LC_"}

// fallbackPath serves when the caller's own PATH cannot be known.
const fallbackPath = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"

// CallerEnviron returns the environment in which the user typed the command.
// sudo hands on a cleaned one, so where our parent is sudo its own is read:
// it is the one sudo was started with.
func CallerEnviron() map[string]string {
	parent := "/proc/" + strconv.Itoa(os.Getppid())
	if exe, err := os.Readlink(parent + "/exe"); err == nil && strings.HasPrefix(filepath.Base(exe), "sudo") {
		if data, err := os.ReadFile(parent + "/environ"); err == nil {
			return ParseEnviron(strings.Split(string(bytes.TrimRight(data, "\x00")), "\x00"))
		}
	}
	return ParseEnviron(os.Environ())
}

// ParseEnviron makes a map of entries NAME=VALUE. Others are left out, and of
// two the last counts.
func ParseEnviron(entries []string) map[string]string {
	env := make(map[string]string, len(entries))
	for _, entry := range entries {
		if name, value, ok := strings.Cut(entry, "="); ok && name != "" {
			env[name] = value
		}
	}
	return env
}

// agentEnviron builds the agent's environment: what is passed, who the user
// is, and extra (placeholders, trust variables, git's configuration), which
// wins.
func agentEnviron(caller map[string]string, u User, extra []string) []string {
	env := make(map[string]string)
	for name, value := range caller {
		if isPassed(name) && !policy.LooksLikeKey(value) {
			env[name] = value
		}
	}
	env["PATH"] = agentPath(caller["PATH"])
	env["HOME"], env["USER"], env["LOGNAME"], env["SHELL"] = u.Home, u.Name, u.Name, u.Shell
	env["XDG_RUNTIME_DIR"] = "/run/user/" + strconv.Itoa(u.UID)
	maps.Copy(env, ParseEnviron(extra))
	out := make([]string, 0, len(env))
	for name, value := range env {
		out = append(out, name+"="+value)
	}
	slices.Sort(out)
	return out
}

func isPassed(name string) bool {
	if slices.Contains(passed, name) {
		return true
	}
	return slices.ContainsFunc(passedPrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// agentPath keeps the absolute directories of path that are not root's alone.
func agentPath(path string) string {
	if path == "" {
		return fallbackPath
	}
	var kept []string
	for _, dir := range strings.Split(path, ":") {
		if filepath.IsAbs(dir) && dir != "/root" && !strings.HasPrefix(dir, "/root/") {
			kept = append(kept, dir)
		}
	}
	if len(kept) == 0 {
		return fallbackPath
	}
	return strings.Join(kept, ":")
}
