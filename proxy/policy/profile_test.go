// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// summary is what a profile comes down to, tools included.
type summary struct {
	aliases, credentials, hosts, telemetry, registries, state, env, permit string
}

const (
	agentHosts = "github.com gist.github.com gitlab.com codeload.github.com objects.githubusercontent.com release-assets.githubusercontent.com " +
		"raw.githubusercontent.com media.githubusercontent.com github-cloud.githubusercontent.com nodejs.org static.rust-lang.org"
	gitHosts        = "github.com gist.github.com gitlab.com codeload.github.com objects.githubusercontent.com release-assets.githubusercontent.com raw.githubusercontent.com media.githubusercontent.com github-cloud.githubusercontent.com"
	agentRegistries = "npm pip"
	agentEnv        = "PIP_DISABLE_PIP_VERSION_CHECK=1 npm_config_audit=false npm_config_fund=false npm_config_update_notifier=false"
	npmEnv          = "npm_config_audit=false npm_config_fund=false npm_config_update_notifier=false"
	many            = "anthropic openai gemini openrouter groq mistral deepseek xai"
)

func TestProfiles(t *testing.T) {
	want := map[string]summary{
		"claude": {"", "anthropic claude", "platform.claude.com " + agentHosts, "statsig.anthropic.com sentry.io http-intake.logs.us5.datadoghq.com", agentRegistries,
			"~/.claude ~/.claude.json", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 " + agentEnv, ""},
		"codex":  {"", "openai codex", "chatgpt.com " + agentHosts, "ab.chatgpt.com", agentRegistries, "~/.codex", agentEnv, "nested_sandbox"},
		"gemini": {"gemini-cli", "gemini", agentHosts, "play.googleapis.com", agentRegistries, "~/.gemini", "GEMINI_TELEMETRY_ENABLED=false " + agentEnv, ""},
		"opencode": {"", many, "models.dev models.opencode.ai " + agentHosts, "", agentRegistries,
			"~/.config/opencode ~/.local/share/opencode ~/.local/state/opencode", "OPENCODE_DISABLE_AUTOUPDATE=1 " + agentEnv, ""},
		"aider": {"", many + " cohere", agentHosts, "us.i.posthog.com", agentRegistries, "~/.aider", "AIDER_ANALYTICS=false AIDER_CHECK_UPDATE=false " + agentEnv, ""},
		"copilot": {"", "copilot", agentHosts, "copilot-telemetry.githubusercontent.com telemetry.individual.githubcopilot.com telemetry.business.githubcopilot.com telemetry.enterprise.githubcopilot.com collector.github.com default.exp-tas.com",
			agentRegistries, "~/.copilot", "COPILOT_AUTO_UPDATE=false " + agentEnv, ""},
		"cursor-agent": {"", "", "api2.cursor.sh " + agentHosts, "", agentRegistries, "~/.cursor", agentEnv, ""},
		"goose": {"", many, agentHosts, "us.i.posthog.com", agentRegistries, "~/.config/goose ~/.local/share/goose ~/.local/state/goose",
			"GOOSE_DISABLE_KEYRING=1 GOOSE_TELEMETRY_OFF=1 " + agentEnv, ""},
		"gh":     {"", "github", gitHosts, "", "", "", "GH_NO_UPDATE_NOTIFIER=1", ""},
		"git":    {"", "github gitlab huggingface", gitHosts, "", "", "", "", ""},
		"npm":    {"npx pnpm pnpx", "", "nodejs.org " + gitHosts, "", "npm", "", npmEnv, ""},
		"pip":    {"pipx", "", gitHosts, "", "pip", "", "PIP_DISABLE_PIP_VERSION_CHECK=1", ""},
		"uv":     {"uvx", "", gitHosts, "", "", "", "", ""},
		"python": {},
		"node":   {aliases: "nodejs"},
		"cargo":  {"", "", "static.rust-lang.org " + gitHosts, "", "", "", "", ""},
		"go":     {"", "", "storage.googleapis.com " + gitHosts, "", "go", "", "", ""},
		"docker": {"docker-compose nerdctl", "", "", "", "", "", "", ""},
	}
	if got, all := len(Profiles()), len(want); got != all {
		t.Errorf("%d profiles, want %d: %s", got, all, profileNames())
	}
	for name, w := range want {
		t.Run(name, func(t *testing.T) {
			p, known := ProfileNamed(name)
			if !known {
				t.Fatal("missing")
			}
			if diff := cmp.Diff(w, summarise(p), cmp.AllowUnexported(summary{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func summarise(p *Profile) summary {
	s := &Session{}
	s.addSurroundings(p)
	var env, registries []string
	state := slices.Clone(p.State)
	for _, f := range p.Files {
		state = append(state, f.Path)
	}
	for _, v := range s.Env {
		env = append(env, v.Name+"="+v.Value)
	}
	for _, g := range p.Registries() {
		if len(g.Ask) > 0 {
			registries = append(registries, g.Ask[0])
		}
	}
	return summary{
		aliases: strings.Join(p.Aliases, " "), credentials: strings.Join(p.Credentials, " "),
		hosts: hostsOf(p.destinations(false, nil)), telemetry: hostsOf(p.Telemetry),
		registries: strings.Join(registries, " "), state: strings.Join(state, " "),
		env: strings.Join(env, " "), permit: strings.Join(s.Permit, " "),
	}
}

func hostsOf(all []Egress) string {
	var out []string
	for _, e := range all {
		out = append(out, e.Host)
	}
	return strings.Join(out, " ")
}

// Every profile, alone and with everything it may use stored, makes a session
// that compiles, and lets no host be written to that is not a fetch of git's.
func TestEveryProfileCompiles(t *testing.T) {
	store := make(shelf)
	for _, p := range Providers() {
		store[p.Name] = p.Name + " " + strings.Join(p.Hosts, " ")
	}
	for _, p := range Profiles() {
		t.Run(p.Name, func(t *testing.T) {
			for _, stored := range []Stored{nil, store.stored} {
				s, err := Resolve(&File{Telemetry: true, Filesystem: defaultFilesystem(), Limits: defaultLimits}, Flags{Profile: &p}, stored)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := Compile(s); err != nil {
					t.Fatal(err)
				}
			}
			for _, e := range p.destinations(false, nil) {
				for _, a := range e.Allow {
					git := strings.HasSuffix(a.Glob, "/git-upload-pack") || strings.HasSuffix(a.Glob, "/info/lfs/objects/batch")
					if a.Method != "GET" && a.Method != "HEAD" && !git || e.Foreign || e.Passthrough || e.Protocol != HTTPS {
						t.Errorf("%s: %s %s", e.Host, a.Method, a.Glob)
					}
				}
			}
			for _, g := range p.Registries() {
				found, problems := g.Endpoints(nil)
				if len(found) != 0 || problems != nil { // what is not configured is not known
					t.Errorf("registry: %+v %v", found, problems)
				}
			}
		})
	}
}

// The names that lead to a profile are of one profile alone, and what a profile
// refers to exists.
func TestProfilesRefer(t *testing.T) {
	owner := map[string]string{NoProfile: "nobody"}
	for _, p := range Profiles() {
		for _, name := range append([]string{p.Name}, p.Aliases...) {
			if other := owner[name]; other != "" {
				t.Errorf("%s is %s and %s", name, p.Name, other)
			}
			owner[name] = p.Name
		}
		for _, tool := range p.Tools {
			if q, known := ProfileNamed(tool); !known || q.Refuse != "" || tool == p.Name {
				t.Errorf("%s: tool %s", p.Name, tool)
			}
		}
	}
}

func TestChoose(t *testing.T) {
	for name, c := range map[string]struct {
		policy, flag, command string
		want                  string // name; "" for none
		message, hint         string
	}{
		"base name":              {command: "claude", want: "claude"},
		"path":                   {command: "/usr/local/bin/claude", want: "claude"},
		"alias":                  {command: "npx", want: "npm"},
		"version":                {command: "/usr/bin/python3.12", want: "python"},
		"another program":        {command: "make"},
		"version alone":          {command: "3.12"},
		"no prefix":              {command: "claude-wrapper"},
		"flag wins":              {policy: "profile: codex", flag: "claude", command: "npm", want: "claude"},
		"policy wins":            {policy: "profile: codex", command: "npm", want: "codex"},
		"none by flag":           {policy: "profile: codex", flag: "none", command: "npm"},
		"none by policy":         {policy: "profile: none", command: "npm"},
		"unknown":                {flag: "clod", command: "npm", message: `--profile: unknown profile "clod"`, hint: "known are: aider, cargo, claude"},
		"refused by name":        {command: "docker", message: "profiles/docker.yaml:2: docker does not run in a session: its daemon starts containers outside", hint: "run the agent itself"},
		"refused by alias":       {command: "/usr/bin/docker-compose", message: "docker does not run in a session"},
		"refused by flag":        {flag: "docker", command: "sh", message: "--profile: docker does not run in a session"},
		"not refused when named": {flag: "none", command: "docker"},
	} {
		t.Run(name, func(t *testing.T) {
			var file *File
			if c.policy != "" {
				var err error
				if file, err = Parse("p.yaml", []byte("version: 1\n"+c.policy+"\n")); err != nil {
					t.Fatal(err)
				}
			}
			p, err := Choose(file, c.flag, c.command)
			var refused *ResolveError
			switch {
			case c.message != "":
				if !errors.As(err, &refused) || !strings.Contains(err.Error(), c.message) || !strings.Contains(refused.Hint, c.hint) {
					t.Fatalf("%v (%+v)", err, refused)
				}
			case err != nil:
				t.Fatal(err)
			case p == nil && c.want != "", p != nil && p.Name != c.want:
				t.Fatalf("%+v", p)
			}
		})
	}
}

func TestProfileFileIsStrict(t *testing.T) {
	const good = "name: x\ncredentials: [openai]\n"
	if _, err := parseProfile("profiles/x.yaml", []byte(good)); err != nil {
		t.Fatal(err)
	}
	registry := "registry: {ask: [x, --where], files: [~/.rc], replaces: [index]}\n"
	for name, c := range map[string]struct{ text, message string }{
		"unknown key":          {good + "hosts: []\n", "unknown key"},
		"other name":           {"name: y\n", "want the file's own"},
		"no name":              {"credentials: [openai]\n", "name: missing"},
		"unknown provider":     {"name: x\ncredentials: [acme]\n", "no provider of that name"},
		"nothing to use":       {"name: x\ncredentials: []\n", "an empty list"},
		"state is the home":    {good + "state: [~]\n", "path: want"},
		"state outside":        {good + "state: [/etc/x]\n", "below ~/"},
		"state climbs":         {good + "state: [~/../x]\n", "path: want"},
		"state of the project": {good + "state: [x]\n", "below ~/"},
		"file outside":         {good + "files: {/etc/x: y}\n", "below ~/"},
		"variable":             {good + "env: {\"A B\": x}\n", "a variable's name"},
		"variable no text":     {good + "env: {A: 1}\n", "want text"},
		"placeholder":          {good + "placeholders: {A: acme}\n", "no provider of that name"},
		"placeholder variable": {good + "placeholders: {\"A B\": openai}\n", "a variable's name"},
		"omit":                 {good + "omit: [\"A B\"]\n", "a variable's name"},
		"omit no text":         {good + "omit: [{}]\n", "a variable's name"},
		"permit":               {good + "permit: [all]\n", "want one of"},
		"companion an address": {good + "companions: [10.0.0.1]\n", "bad host name"},
		"refused for nothing":  {"name: x\nrefuse: y\n", "one needs the other"},
		"refused with hosts":   {good + "refuse: y\ninstead: z\n", "has no use"},
		"registry asks nobody": {good + strings.Replace(registry, "[x, --where]", "[]", 1), "an empty list"},
		"registry of project":  {good + strings.Replace(registry, "~/.rc", ".rc", 1), "the agent's to write"},
		"registry unasked":     {good + strings.Replace(registry, ", replaces: [index]", "", 1), "registry.replaces: missing"},
		"registry pattern":     {good + strings.Replace(registry, "[index]", "['[']", 1), "not a pattern"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parseProfile("profiles/x.yaml", []byte(c.text)); err == nil || !strings.Contains(err.Error(), c.message) {
				t.Fatalf("%v; want %q", err, c.message)
			}
		})
	}
}

func TestProfileSchemaHasTheKeysOfTheParser(t *testing.T) {
	root := readObject(t, ProfileSchema())
	for name, c := range map[string]struct {
		schema object
		keys   []string
	}{
		"root":     {root, names(profileKeys)},
		"registry": {readObject(t, root.Defs["registry"]), names(registryKeys)},
	} {
		if diff := cmp.Diff(c.keys, slices.Sorted(maps.Keys(c.schema.Properties))); diff != "" {
			t.Errorf("%s: parser (-), schema (+):\n%s", name, diff)
		}
		if string(c.schema.AdditionalProperties) != "false" {
			t.Errorf("%s: the schema lets other keys pass", name)
		}
	}
}

// What is explicit stands in for the profile's: by name, by provider and by
// variable; and an entry of the policy decides for its own port alone.
func TestProfileGivesWay(t *testing.T) {
	codex, _ := ProfileNamed("codex")
	store := shelf{"openai": "openai api.openai.com"}
	for name, c := range map[string]struct{ text, want string }{
		"nothing":  {"", "openai:OPENAI_API_KEY,CODEX_API_KEY"},
		"name":     {`credentials: {openai: {from: "env:X", provider: groq}}`, "openai:GROQ_API_KEY"},
		"same":     {`credentials: {openai: {from: "env:X"}}`, "openai:OPENAI_API_KEY,CODEX_API_KEY"},
		"provider": {`credentials: {work: {from: "env:X", provider: openai, env: [WORK_KEY]}}`, "work:WORK_KEY"},
		"variable": {`credentials: {work: {from: "env:X", hosts: [a.test], env: [OPENAI_API_KEY]}}`, "work:OPENAI_API_KEY"},
		"another":  {`credentials: {work: {from: "env:X", hosts: [a.test], env: [WORK_KEY]}}`, "work:WORK_KEY openai:OPENAI_API_KEY,CODEX_API_KEY"},
		"taken":    {`credentials: {work: {from: "env:X", hosts: [a.test], env: [CODEX_API_KEY]}}`, "work:CODEX_API_KEY openai:OPENAI_API_KEY"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := resolveText(t, "version: 1\n"+c.text+"\n", Flags{Profile: codex}, store)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, credential := range s.Credentials {
				got = append(got, credential.Name+":"+strings.Join(credential.Env, ","))
			}
			if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" {
				t.Error(diff)
			}
			if _, err := Compile(s); err != nil {
				t.Error(err)
			}
		})
	}
	s, err := resolveText(t, "version: 1\negress: [{host: github.com, port: 8443, allow: []}]\n", Flags{Profile: codex}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := Compile(s); err != nil || !r.Connect("github.com", portHTTPS).Allow || !r.Connect("github.com", 8443).Allow {
		t.Errorf("%v: %s", err, hostsOf(s.Egress))
	}
}

// gemini-cli gets one of the two variables that its key may stand in, whoever
// stored it; others get both, and who says which one wants that one.
func TestProfileOmitsVariables(t *testing.T) {
	store := shelf{"gemini": "gemini generativelanguage.googleapis.com"}
	for name, c := range map[string]struct{ profile, text, want string }{
		"stored":   {"gemini", "", "GEMINI_API_KEY"},
		"policy":   {"gemini", `credentials: {gemini: {from: "env:X"}}`, "GEMINI_API_KEY"},
		"explicit": {"gemini", `credentials: {gemini: {from: "env:X", env: [GOOGLE_API_KEY]}}`, "GOOGLE_API_KEY"},
		"others":   {"opencode", "", "GEMINI_API_KEY,GOOGLE_API_KEY"},
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := ProfileNamed(c.profile)
			s, err := resolveText(t, "version: 1\n"+c.text+"\n", Flags{Profile: p}, store)
			if err != nil || len(s.Credentials) != 1 {
				t.Fatalf("%v, %v", s, err)
			}
			if got := strings.Join(s.Credentials[0].Env, ","); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
	preset, _ := ProviderNamed("gemini")
	if len(preset.Env) != 2 {
		t.Errorf("the provider itself has %v", preset.Env)
	}
}
