// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// home is a user's home with files in it, and a session in its folder work.
func home(t *testing.T, files map[string]string) *Session {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "work"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return &Session{supply: supply{config: Config{User: User{Home: dir}, Dir: filepath.Join(dir, "work")}}}
}

func ask(t *testing.T, s *Session, name string) surroundings {
	t.Helper()
	p, known := policy.ProfileNamed(name)
	if !known {
		t.Fatalf("no profile %s", name)
	}
	var found surroundings
	s.askHost(p, &found)
	found.conclude(p)
	return found
}

func hosts(found surroundings) string {
	var out []string
	for _, e := range found.registries {
		out = append(out, e.Host)
	}
	return strings.Join(out, " ")
}

func TestRegistriesAreTheUsersOwn(t *testing.T) {
	s := home(t, map[string]string{
		".npmrc":      "registry=https://npm.corp.test/\n",
		"work/.npmrc": "registry=https://evil.test/\n",
	})
	s.config.Caller = map[string]string{"PIP_INDEX_URL": "https://me:pw@pip.corp.test/simple", "UV_INDEX_URL": "https://uv.corp.test/", "npm_config_registry": "https://env.test/"}
	if diff := cmp.Diff("env.test npm.corp.test", hosts(ask(t, s, "npm"))); diff != "" {
		t.Error(diff)
	}
	found := ask(t, s, "pip")
	if diff := cmp.Diff("pip.corp.test", hosts(found)); diff != "" {
		t.Error(diff)
	}
	if len(found.env) != 0 || len(found.told) != 1 || !strings.Contains(found.told[0], "PIP_INDEX_URL") || strings.Contains(found.told[0], "pw") {
		t.Errorf("%+v", found)
	}
	if diff := cmp.Diff([]string{"UV_INDEX_URL=https://uv.corp.test/"}, ask(t, s, "uv").env); diff != "" {
		t.Error(diff)
	}
}

// What an agent may have written in an earlier session opens no host, by
// whatever name the session reaches the file.
func TestRegistriesOfTheAgentDoNotCount(t *testing.T) {
	for name, prepare := range map[string]func(*testing.T, *Session){
		"working directory": func(t *testing.T, s *Session) {
			link(t, filepath.Join(s.config.Dir, "npmrc"), filepath.Join(s.config.User.Home, ".npmrc"))
		},
		"write flag": func(_ *testing.T, s *Session) { s.config.Write = []string{"~/.npmrc"} },
		"write policy": func(_ *testing.T, s *Session) {
			s.config.Policy = &policy.File{Filesystem: policy.Filesystem{Write: []string{"~/.npmrc"}}}
		},
		"written through a link": func(t *testing.T, s *Session) {
			link(t, s.config.User.Home, filepath.Join(s.config.Dir, "up"))
			s.config.Write = []string{"up/.npmrc"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := home(t, map[string]string{"work/npmrc": "registry=https://evil.test/\n"})
			if name != "working directory" {
				s = home(t, map[string]string{".npmrc": "registry=https://evil.test/\n"})
			}
			prepare(t, s)
			found := ask(t, s, "npm")
			if strings.Contains(hosts(found), "evil") || len(found.told) != 1 || !strings.Contains(found.told[0], "~/.npmrc") {
				t.Errorf("%+v", found)
			}
		})
	}
}

func link(t *testing.T, to, at string) {
	t.Helper()
	if err := os.Symlink(to, at); err != nil {
		t.Fatal(err)
	}
}

func TestConfigurationThatIsNoFileIsTold(t *testing.T) {
	s := home(t, map[string]string{".npmrc/x": ""})
	found := ask(t, s, "npm")
	if hosts(found) != "" || len(found.told) != 1 || !strings.Contains(found.told[0], "not a regular file") {
		t.Errorf("%+v", found)
	}
}

func TestStateIsMadeAndKept(t *testing.T) {
	s := home(t, map[string]string{".claude.json": "mine"})
	found := ask(t, s, "claude")
	want := []string{filepath.Join(s.config.User.Home, ".claude"), filepath.Join(s.config.User.Home, ".claude.json")}
	if diff := cmp.Diff(want, found.state); diff != "" {
		t.Fatal(diff)
	}
	if st, err := os.Stat(want[0]); err != nil || !st.IsDir() || st.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", st, err)
	}
	if data, err := os.ReadFile(want[1]); err != nil || string(data) != "mine" {
		t.Errorf("%q %v", data, err)
	}
	if diff := cmp.Diff(want[1:], found.written([]string{want[0]})); diff != "" {
		t.Errorf("hidden: %s", diff)
	}
	if err := os.Remove(want[1]); err != nil {
		t.Fatal(err)
	}
	ask(t, s, "claude")
	if data, err := os.ReadFile(want[1]); err != nil || string(data) != "{}\n" {
		t.Errorf("%q %v", data, err)
	}
}

func TestStateThatCannotBeMadeIsTold(t *testing.T) {
	s := home(t, map[string]string{".codex": "a file"})
	found := ask(t, s, "codex")
	if len(found.state) != 0 || len(found.told) != 1 || !strings.Contains(found.told[0], "discarded") {
		t.Errorf("%+v", found)
	}
}

func TestSourcesOfAProfileAreOptional(t *testing.T) {
	profile, _ := policy.ProfileNamed("opencode")
	file := &policy.File{Credentials: []policy.Declared{{Name: "openai", From: "env:KEY"}}}
	all := sources(file, []string{"anthropic", "work"}, profile)
	want := []source{
		{"openai", "env:KEY", false, ""}, {"anthropic", "store:anthropic", false, ""}, {"work", "store:work", false, ""},
		{"gemini", "store:gemini", true, ""}, {"openrouter", "store:openrouter", true, ""}, {"groq", "store:groq", true, ""},
		{"mistral", "store:mistral", true, ""}, {"deepseek", "store:deepseek", true, ""}, {"xai", "store:xai", true, ""},
	}
	if diff := cmp.Diff(want, all, cmp.AllowUnexported(source{})); diff != "" {
		t.Error(diff)
	}
}

func TestNothingStoredSaysHow(t *testing.T) {
	for name, want := range map[string]string{
		"claude": "profile claude: no credential is stored; store one: sudo phantom-ns secret set anthropic (or claude)",
		"git":    "profile git: no credential is stored; store one: sudo phantom-ns secret set github (or gitlab, huggingface)",
	} {
		p, _ := policy.ProfileNamed(name)
		if got := nothingStored(p); got != want {
			t.Errorf("%s", got)
		}
	}
}

func TestPolicyInTheProfilesStateIsRefused(t *testing.T) {
	s := home(t, map[string]string{".codex/policy.yaml": "", "policy.yaml": ""})
	s.config.Profile, _ = policy.ProfileNamed("codex")
	for name, refused := range map[string]bool{".codex/policy.yaml": true, "policy.yaml": false} {
		s.config.Policy = &policy.File{Name: filepath.Join(s.config.User.Home, name)}
		if err := s.checkPolicy(); errors.Is(err, ErrPolicyInReach) != refused {
			t.Errorf("%s: %v", name, err)
		}
	}
}
