// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRegistryFollowsTheToolsConfiguration(t *testing.T) {
	for name, c := range map[string]struct {
		profile, text string
		variables     []string // "NAME=value"
		want          string
		problems      string
	}{
		"npm default":       {profile: "npm", want: ""},
		"npm own":           {profile: "npm", text: "registry = https://npm.corp.test:8443/repo/\nstrict-ssl=true\n", want: "npm.corp.test:8443"},
		"npm scoped beside": {profile: "npm", text: "@corp:registry=https://npm.corp.test/\n//npm.corp.test/:_authToken=secret\n", want: "npm.corp.test"},
		"npm variable":      {profile: "npm", variables: []string{"npm_config_registry=https://env.test/"}, want: "env.test"},
		"npm comment":       {profile: "npm", text: "; registry=https://a.test/\n#registry=https://b.test/\n", want: ""},
		"npm http":          {profile: "npm", text: "registry=http://a.test/\n", problems: "rc: registry: only https is read from"},
		"npm address":       {profile: "npm", text: "registry=https://10.0.0.7/\n", problems: "rc: registry: no host name that can be allowed"},
		"npm port 80":       {profile: "npm", text: "registry=https://a.test:80/\n", problems: "rc: registry: no port that can be allowed"},
		"npm unexpanded":    {profile: "npm", text: "registry=https://${HOST}/\n", problems: "rc: registry: not a URL"},
		"npm password":      {profile: "npm", text: "registry=https://me:hunter2@A.test./x\n", want: "a.test"},
		"pip default":       {profile: "pip", want: ""},
		"pip own":           {profile: "pip", text: "[global]\nindex-url = https://pip.corp.test/simple\ntimeout = 3\n", want: "pip.corp.test"},
		"pip underscore":    {profile: "pip", text: "[global]\nindex_url = https://pip.corp.test/simple\n", want: "pip.corp.test"},
		"pip other section": {profile: "pip", text: "[list]\nindex-url = https://pip.corp.test/simple\n", want: ""},
		"pip over lines":    {profile: "pip", text: "[global]\nextra-index-url =\n    https://a.test/simple\n    https://b.test/simple?x=1\n", want: "a.test b.test"},
		"uv index":          {profile: "uv", text: "[[index]]\nname = \"corp\"\nurl = \"https://uv.corp.test/simple\" # not https://c.test\n", want: "uv.corp.test"},
		"uv list":           {profile: "uv", text: "extra-index-url = [\n  \"https://a.test/simple\",\n  'https://b.test/simple',\n]\n[pip]\nindex-url = \"https://c.test/\"\n", want: "a.test b.test c.test"},
		"cargo default":     {profile: "cargo", want: ""},
		"cargo replaced":    {profile: "cargo", text: "[source.crates-io]\nreplace-with = \"mirror\"\n[source.mirror]\nregistry = \"sparse+https://crates.corp.test/index/\"\n", want: "crates.corp.test"},
		"cargo beside":      {profile: "cargo", text: "[registries.\"my corp\"] # ours\nindex = \"sparse+https://crates.corp.test/index/\"\n", want: "crates.corp.test"},
		"go default":        {profile: "go", want: ""},
		"go own":            {profile: "go", text: "GOPROXY=https://a.test,https://b.test|direct\n", want: "a.test b.test"},
		"go off":            {profile: "go", text: "GOPROXY=off\n", want: ""},
		"go variable":       {profile: "go", variables: []string{"GOPROXY=https://goproxy.corp.test,direct"}, want: "goproxy.corp.test"},
		"another's":         {profile: "go", variables: []string{"PIP_INDEX_URL=https://a.test"}, want: ""},
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := ProfileNamed(c.profile)
			settings := ParseSettings("rc", []byte(c.text))
			for _, v := range c.variables {
				name, value, _ := strings.Cut(v, "=")
				settings = append(settings, Setting{Where: "the environment", Key: "$" + name, Value: value})
			}
			found, problems := p.Registry.Endpoints(settings)
			var got []string
			for _, e := range found {
				text := e.Host
				if e.Port != portHTTPS {
					text = fmt.Sprintf("%s:%d", e.Host, e.Port)
				}
				got = append(got, text)
			}
			if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(c.problems, strings.Join(problems, "\n")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRegistryAnswers(t *testing.T) {
	for name, c := range map[string]struct{ profile, rc, output, want string }{
		"npm":               {"npm", "", "https://npm.test/\n", "npm.test"},
		"npm not asked":     {"npm", "registry=https://own.test/\n", "https://npm.test/\n", "own.test"},
		"npm asked as well": {"npm", "@corp:registry=https://corp.test/\n", "https://npm.test/\n", "corp.test npm.test"},
		"go":                {"go", "", "https://a.test,https://b.test|direct\n", "a.test b.test"},
		"go off":            {"go", "", "off\n", ""},
		"pip":               {"pip", "", "see https://docs.test\n  -i, --index-url <url>  The index (default\n      https://pip.test/simple). As in\n  https://peps.test\n", "pip.test"},
		"pip says nothing":  {"pip", "", "see https://docs.test\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := ProfileNamed(c.profile)
			settings := ParseSettings("rc", []byte(c.rc))
			if p.Registry.Unsaid(settings) {
				settings = append(settings, p.Registry.Answer(c.output))
			}
			found, problems := p.Registry.Endpoints(settings)
			var got []string
			for _, e := range found {
				got = append(got, e.Host)
			}
			if strings.Join(got, " ") != c.want || problems != nil {
				t.Errorf("%q %q; want %q", got, problems, c.want)
			}
		})
	}
}

func FuzzSettings(f *testing.F) {
	f.Add("[a]\nregistry = [\"https://a.test\",\n'https://b.test']\n")
	f.Add("registry=https://me:pw@x.test:99999/\n[[\n]")
	npm, _ := ProfileNamed("npm")
	f.Fuzz(func(t *testing.T, text string) {
		found, _ := npm.Registry.Endpoints(ParseSettings("rc", []byte(text)))
		for _, e := range found {
			if name, err := Canonical(e.Host); err != nil || name != e.Host || e.Port == 0 || e.Port == portHTTP {
				t.Errorf("%+v", e)
			}
		}
	})
}
