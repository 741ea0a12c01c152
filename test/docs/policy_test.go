// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// schema is the part of JSON Schema that the manual repeats.
type schema struct {
	Properties  map[string]schema `json:"properties"`
	Defs        map[string]schema `json:"$defs"`
	Items       *schema           `json:"items"`
	Ref         string            `json:"$ref"`
	Description string            `json:"description"`
	Enum        []string          `json:"enum"`
	OneOf       []schema          `json:"oneOf"`
	Minimum     int               `json:"minimum"`
	Maximum     int               `json:"maximum"`
	Default     any               `json:"default"`
	// Additional is the schema of a mapping's values, or false.
	Additional json.RawMessage `json:"additionalProperties"`
}

// leaves are keys whose own keys are part of a value's spelling.
var leaves = []string{"credentials.inject", "credentials.outbound"}

// schemaKeys returns every key of a policy by its path.
func schemaKeys(t *testing.T) map[string]schema {
	t.Helper()
	var top schema
	if err := json.Unmarshal(policy.Schema(), &top); err != nil {
		t.Fatal(err)
	}
	all := make(map[string]schema)
	var walk func(path string, s schema)
	walk = func(path string, s schema) {
		inner := s
		if s.Items != nil {
			inner = *s.Items
		} else if len(s.Additional) > 0 && s.Additional[0] == '{' {
			inner = schema{}
			if err := json.Unmarshal(s.Additional, &inner); err != nil {
				t.Fatal(err)
			}
		}
		if name, ok := strings.CutPrefix(inner.Ref, "#/$defs/"); ok {
			inner = top.Defs[name]
		}
		if path != "" {
			all[path] = s
		}
		if slices.Contains(leaves, path) {
			return
		}
		for key, below := range inner.Properties {
			walk(strings.TrimPrefix(path+"."+key, "."), below)
		}
	}
	walk("", top)
	return all
}

const policyPage = "docs/man/phantom-ns-policy.5"

func policyItems(t *testing.T) map[string]item {
	t.Helper()
	all := make(map[string]item)
	for _, i := range items(section(t, read(t, policyPage), "KEYS"), "Cm") {
		if _, twice := all[i.head]; twice {
			t.Errorf("%s stands there twice", i.head)
		}
		all[i.head] = i
	}
	return all
}

func TestPolicyPageHasEveryKey(t *testing.T) {
	keys, page := schemaKeys(t), policyItems(t)
	if diff := gocmp.Diff(slices.Sorted(maps.Keys(keys)), slices.Sorted(maps.Keys(page))); diff != "" {
		t.Errorf("schema (-), page (+):\n%s", diff)
	}
}

const refused = "Not supported by this build"

// marks returns what a text says is refused: nothing, everything ("*"), or
// some values.
func marks(text string) []string {
	_, rest, found := strings.Cut(text, refused)
	if !found {
		return nil
	}
	values, listed := strings.CutPrefix(rest, ": ")
	if !listed {
		return []string{"*"}
	}
	values, _, _ = strings.Cut(values, ".")
	return slices.Sorted(slices.Values(strings.Split(values, ", ")))
}

// refusedOf returns the marks of a key in the schema. What is below a key that
// is refused is refused too.
func refusedOf(keys map[string]schema, key string) []string {
	text := keys[key].Description
	if key == "credentials.inject" {
		text = keys[key].Items.Description
	}
	own := marks(text)
	if at := strings.LastIndexByte(key, '.'); len(own) == 0 && at > 0 && slices.Equal(marks(keys[key[:at]].Description), everything) {
		return everything
	}
	return own
}

var everything = []string{"*"}

// refusedParts are the parts of the page that say what is refused.
func refusedParts(t *testing.T) []generated {
	keys := schemaKeys(t)
	var parts []generated
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		name := "refused " + key
		if !strings.Contains(read(t, policyPage), ": "+name+"\n") {
			continue // TestPolicyPageMarksWhatIsRefused asks whether it should
		}
		parts = append(parts, generated{policyPage, name, func(*testing.T) string {
			values := refusedOf(keys, key)
			switch {
			case len(values) == 0:
				return ""
			case slices.Equal(values, everything):
				return refused + ".\n"
			}
			return refused + ": " + strings.Join(values, ", ") + ".\n"
		}})
	}
	return parts
}

func TestPolicyPageMarksWhatIsRefused(t *testing.T) {
	keys, page := schemaKeys(t), policyItems(t)
	for key := range keys {
		if diff := gocmp.Diff(refusedOf(keys, key), marks(page[key].text)); diff != "" {
			t.Errorf("%s: schema (-), page (+):\n%s", key, diff)
		}
	}
}

// The page's defaults are those of the parser, or of the schema.
func TestPolicyPageStatesTheDefaults(t *testing.T) {
	session, err := policy.Resolve(nil, policy.Flags{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	file, err := policy.Parse("policy.yaml", []byte("version: 1\negress: [{host: a.test}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	entry := file.Egress[0]
	want := map[string]string{
		"telemetry":                  "deny",
		"credentials.from":           "store:NAME",
		"credentials.anonymous":      string(policy.AnonymousDeny),
		"credentials.placeholder":    policy.ShapeProvider,
		"egress.port":                strconv.Itoa(int(entry.Port)),
		"egress.protocol":            string(entry.Protocol),
		"egress.tls":                 map[bool]string{false: "inspect", true: "passthrough"}[entry.Passthrough],
		"egress.foreign_credentials": map[bool]string{false: "deny", true: "allow"}[entry.Foreign],
		"egress.approve":             "never",
		"filesystem.home":            session.Filesystem.Home,
		"filesystem.write":           `\&"` + strings.Join(session.Filesystem.Write, " ") + `\&"`,
		"limits.connections":         strconv.Itoa(session.Limits.Connections),
		"limits.streams":             strconv.Itoa(session.Limits.Streams),
		"limits.header_bytes":        strconv.Itoa(session.Limits.HeaderBytes),
		"audit.full":                 file.AuditFull,
	}
	for key, i := range policyItems(t) {
		_, rest, _ := strings.Cut("\n"+i.text, "\nDefault: ")
		line, _, _ := strings.Cut(rest, "\n")
		if got := strings.TrimSuffix(line, "."); got != want[key] {
			t.Errorf("%s: the page says default %q, the code %q", key, got, want[key])
		}
	}
	for key, s := range schemaKeys(t) {
		if s.Default != nil && fmt.Sprint(s.Default) != want[key] {
			t.Errorf("%s: the schema says default %v, the code %q", key, s.Default, want[key])
		}
	}
}

func TestPolicyPageStatesTheLimitsAndWords(t *testing.T) {
	page := policyItems(t)
	for key, s := range schemaKeys(t) {
		text := page[key].text
		if s.Maximum != 0 && key != "egress.port" && !strings.Contains(text, fmt.Sprintf("%d to %d", s.Minimum, s.Maximum)) {
			t.Errorf("%s: the page does not say %d to %d", key, s.Minimum, s.Maximum)
		}
		for _, word := range s.words() {
			if !strings.Contains(text, word) {
				t.Errorf("%s: the page does not say %q", key, word)
			}
		}
	}
}

// words are those of a value: of a closed list, or in front of a colon.
func (s schema) words() []string {
	words := slices.Clone(s.Enum)
	if s.Items != nil {
		words = append(words, s.Items.words()...)
	}
	for _, one := range s.OneOf {
		words = append(words, one.Enum...)
		for key, value := range one.Properties {
			words = append(append(words, key), value.Enum...)
		}
	}
	return words
}

// maskedList names the credential files of package policy.
func maskedList(*testing.T) string {
	return strings.ReplaceAll(strings.Join(policy.KnownFilePaths(), ",\n"), "~", `\(ti`) + ".\n"
}

// profileList names the profiles, which are files of package policy.
func profileList(t *testing.T) string {
	files, err := filepath.Glob(filepath.Join(root, "proxy/policy/profiles/*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".yaml"))
	}
	return strings.Join(names, ",\n") + ".\n"
}

// providerList is the list of providers, as data of package policy.
func providerList(*testing.T) string {
	var out strings.Builder
	out.WriteString(".Bl -tag -width Ds\n")
	for _, p := range policy.Providers() {
		var positions []string
		for _, at := range p.Positions {
			positions = append(positions, at.String())
		}
		fmt.Fprintf(&out, ".It Li %s\n", p.Name)
		if len(p.Hosts) > 0 {
			fmt.Fprintf(&out, "%s;\n", strings.Join(p.Hosts, ", "))
		}
		if len(p.Env) > 0 {
			fmt.Fprintf(&out, "%s;\n", strings.Join(p.Env, ", "))
		}
		out.WriteString(strings.Join(positions, ", "))
		if anonymous := cmp.Or(p.Anonymous, policy.AnonymousDeny); anonymous != policy.AnonymousDeny {
			fmt.Fprintf(&out, ";\nanonymous: %s", anonymous)
		}
		out.WriteString(".\n")
	}
	out.WriteString(".El\n")
	return out.String()
}
