// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"go/ast"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/phantom-ns/phantom-ns/netns/sandbox"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

const commandPage = "docs/man/phantom-ns.1"

// command is what the source says of one command.
type command struct {
	use      string
	flags    []string
	children []string // the functions that make them
}

// readCommands finds every function that makes a cobra.Command.
func readCommands(t *testing.T) map[string]*command {
	t.Helper()
	all := make(map[string]*command)
	for _, file := range parse(t, "cmd/phantom-ns", ".go") {
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Body == nil {
				continue
			}
			c := &command{}
			ast.Inspect(f.Body, func(n ast.Node) bool { c.look(t, n); return true })
			if c.use != "" {
				all[f.Name.Name] = c
			}
		}
	}
	return all
}

func (c *command) look(t *testing.T, n ast.Node) {
	if pair, ok := n.(*ast.KeyValueExpr); ok {
		if key, ok := pair.Key.(*ast.Ident); ok && key.Name == "Use" {
			c.use, _, _ = strings.Cut(unquote(t, pair.Value.(*ast.BasicLit)), " ")
		}
		return
	}
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return
	}
	method, ok := call.Fun.(*ast.SelectorExpr)
	switch {
	case !ok:
	case slices.Contains([]string{"StringVar", "StringArrayVar", "BoolVar", "IntVar", "DurationVar"}, method.Sel.Name):
		c.flags = append(c.flags, unquote(t, call.Args[1].(*ast.BasicLit)))
	case strings.HasSuffix(method.Sel.Name, "Var") || strings.HasSuffix(method.Sel.Name, "VarP"):
		t.Errorf("%s makes a flag that this test does not know", method.Sel.Name)
	case method.Sel.Name == "AddCommand":
		for _, arg := range call.Args {
			c.children = append(c.children, arg.(*ast.CallExpr).Fun.(*ast.SelectorExpr).Sel.Name)
		}
	}
}

// commandFlags returns the flags of every command that does something, by its
// full name.
func commandFlags(t *testing.T) map[string][]string {
	all := readCommands(t)
	out := make(map[string][]string)
	var walk func(name, path string)
	walk = func(name, path string) {
		c := all[name]
		if c == nil {
			t.Fatalf("no function %s", name)
		}
		if len(c.children) == 0 {
			out[path] = slices.Sorted(slices.Values(c.flags))
		}
		for _, child := range c.children {
			walk(child, strings.TrimPrefix(path+" "+all[child].use, " "))
		}
	}
	walk("command", "")
	return out
}

func TestCommandPageHasEveryCommandAndFlag(t *testing.T) {
	got := make(map[string][]string)
	parts := strings.Split(section(t, read(t, commandPage), "COMMANDS"), "\n.Ss ")
	for _, part := range parts[1:] {
		name, text, _ := strings.Cut(part, "\n")
		got[name] = nil
		for _, i := range items("\n"+text, "Fl") {
			flag, _, _ := strings.Cut(i.head, " ")
			got[name] = append(got[name], strings.TrimPrefix(flag, "-"))
		}
		slices.Sort(got[name])
	}
	if diff := cmp.Diff(commandFlags(t), got); diff != "" {
		t.Errorf("code (-), page (+):\n%s", diff)
	}
}

func TestCommandPageSynopsisHasEveryFlag(t *testing.T) {
	page := read(t, commandPage)
	for name, flags := range commandFlags(t) {
		for _, part := range strings.Split(section(t, page, "SYNOPSIS"), "\n.Nm\n") {
			if !strings.HasPrefix(part, ".Cm "+name+"\n") {
				continue
			}
			for _, flag := range flags {
				if !strings.Contains(part, "Fl -"+flag) {
					t.Errorf("%s: the synopsis lacks --%s", name, flag)
				}
			}
		}
		if !strings.Contains(page, "\n.Cm "+name+"\n") {
			t.Errorf("the synopsis lacks %s", name)
		}
	}
}

func TestCommandPageHasEveryExitStatus(t *testing.T) {
	code := parse(t, "cmd/phantom-ns", ".go")
	var want []string
	for _, name := range []string{"exitOurs", "exitNotExecutable", "exitNotFound"} {
		want = append(want, code.literal(t, name))
	}
	want = append(want, code.literal(t, "exitSignal")+"+")
	var got []string
	for part := range strings.SplitSeq(section(t, read(t, commandPage), "EXIT STATUS"), "\n.It ") {
		if word, _, _ := strings.Cut(strings.Fields(part + " x")[0], "\n"); word[0] >= '0' && word[0] <= '9' {
			got = append(got, word)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("code (-), page (+):\n%s", diff)
	}
}

func TestCommandPageHasEveryFile(t *testing.T) {
	page := read(t, commandPage)
	for _, path := range []string{
		parse(t, "cmd/phantom-ns", "run.go").literal(t, "defaultPolicy"),
		parse(t, "enforcer", "auditlog.go").literal(t, "AuditPath"), parse(t, "enforcer", "state.go").literal(t, "StateDir"),
		secret.Directory, sandbox.CAPath, sandbox.BundlePath,
		parse(t, "enforcer", "cgroup.go").literal(t, "cgroupParent"), parse(t, "enforcer", "tail.go").literal(t, "tailSeedFile"),
	} {
		if !strings.Contains(page, "Pa "+path) {
			t.Errorf("the page does not name %s", path)
		}
	}
}

func TestCommandPageHasEveryVariable(t *testing.T) {
	page := section(t, read(t, commandPage), "ENVIRONMENT")
	names := map[string]bool{"SUDO_UID": true, "GIT_CONFIG_COUNT": true, "GIT_TERMINAL_PROMPT": true, "PATH": true}
	for _, variable := range sandbox.TrustEnv() {
		name, _, _ := strings.Cut(variable, "=")
		names[name] = true
	}
	code := parse(t, "enforcer", "environ.go")
	for _, list := range []string{"passed", "passedPrefixes"} {
		for _, row := range rows(t, code.value(t, list)) {
			names[row[0]] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if !has(page, name) {
			t.Errorf("the page does not name %s", name)
		}
	}
}

// Numbers that stand in the text.
func TestCommandPageStatesTheLimits(t *testing.T) {
	page := read(t, commandPage)
	for what, number := range map[string]int{
		"shortest credential": secret.MinLength, "longest credential": secret.MaxLength, "hosts of a credential": secret.MaxHosts,
	} {
		if !has(page, strconv.Itoa(number)) {
			t.Errorf("%s: the page does not say %d", what, number)
		}
	}
	policyPage := read(t, policyPage)
	for what, text := range map[string]string{
		"credential": strconv.Itoa(secret.MinLength) + " to " + strconv.Itoa(secret.MaxLength), "listener": strconv.Itoa(sandbox.ListenerPort),
		"source's time": strconv.Itoa(int(secret.DefaultTimeout.Seconds())) + " seconds",
	} {
		if !strings.Contains(policyPage, text) {
			t.Errorf("%s: the policy's page does not say %q", what, text)
		}
	}
	for _, p := range policy.Providers() {
		if !strings.Contains(policyPage, "Li "+p.Name) {
			t.Errorf("the policy's page does not name %s", p.Name)
		}
	}
}
