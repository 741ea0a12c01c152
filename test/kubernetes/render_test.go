// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"bytes"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	admissionregistration "k8s.io/api/admissionregistration/v1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	rbac "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

const (
	packaging = "../../packaging/kubernetes"
	namespace = "phantom-ns"
)

var update = flag.Bool("update", false, "write the manifests anew")

// full sets what the defaults leave out.
const full = `
namespace: {create: true}
image: {repository: images.example/phantom-ns, tag: v1, pullSecrets: [password]}
policies:
  coder:
    namespaces: [team-a, team-b]
    policy: |
      version: 1
      credentials:
        openai:
          from: file:/etc/phantom-ns/credentials/openai/..data/key
          provider: openai
          placeholder: name
credentials: {openai: {secretName: openai-key}}
sharedSeed: {secretName: phantom-ns-seed}
daemon: {nodeSelector: {pool: agents}}
webhook: {tolerations: [{key: a, operator: Exists}], nodeSelector: {pool: services}}
`

// rendered is the chart as Helm writes it, file by file.
func rendered(t *testing.T, values string) map[string]string {
	t.Helper()
	loaded, err := loader.Load(filepath.Join(packaging, "chart"))
	if err != nil {
		t.Fatal(err)
	}
	given, err := chartutil.ReadValues([]byte(values))
	if err != nil {
		t.Fatal(err)
	}
	release := chartutil.ReleaseOptions{Name: "phantom-ns", Namespace: namespace, IsInstall: true}
	all, err := chartutil.ToRenderValues(loaded, given, release, chartutil.DefaultCapabilities)
	if err != nil {
		t.Fatal(err)
	}
	files, err := engine.Engine{Strict: true}.Render(loaded, all)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// documents are what is installed, in an order that can be applied: what others
// need comes first, what closes the door last.
func documents(t *testing.T, values string) []string {
	t.Helper()
	files := rendered(t, values)
	var all []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		for part := range strings.SplitSeq("\n"+files[name], "\n---\n") {
			if part = strings.TrimSpace(part); part != "" && !strings.HasSuffix(name, ".tpl") {
				all = append(all, part+"\n")
			}
		}
	}
	slices.SortStableFunc(all, func(a, b string) int { return rank(t, a) - rank(t, b) })
	return all
}

func rank(t *testing.T, document string) int {
	at := slices.Index([]string{"Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "ConfigMap", "Service", "NetworkPolicy",
		"PodDisruptionBudget", "Deployment", "DaemonSet", "MutatingWebhookConfiguration"}, kindOf(t, document))
	if at < 0 {
		t.Errorf("a kind that nobody expects:\n%s", document)
	}
	return at
}

func kindOf(t *testing.T, document string) string {
	t.Helper()
	var head struct{ Kind string }
	if err := yaml.Unmarshal([]byte(document), &head); err != nil {
		t.Fatalf("%v\n%s", err, document)
	}
	return head.Kind
}

// objects are the documents as Kubernetes has them; a field that it does not
// know is an error, and so is one that is given twice.
type objects struct {
	daemon     *apps.DaemonSet
	deployment *apps.Deployment
	webhook    *admissionregistration.MutatingWebhookConfiguration
	roles      []rbac.ClusterRole
	bindings   []rbac.ClusterRoleBinding
	accounts   []core.ServiceAccount
	configs    map[string]core.ConfigMap
	policy     *networking.NetworkPolicy
	budget     *policy.PodDisruptionBudget
	service    *core.Service
	namespace  *core.Namespace
}

func decoded(t *testing.T, values string) objects {
	t.Helper()
	o := objects{configs: map[string]core.ConfigMap{}}
	for _, document := range documents(t, values) {
		strict := func(into any) {
			t.Helper()
			if err := yaml.UnmarshalStrict([]byte(document), into); err != nil {
				t.Errorf("%v\n%s", err, document)
			}
		}
		switch kindOf(t, document) {
		case "DaemonSet":
			o.daemon = new(apps.DaemonSet)
			strict(o.daemon)
		case "Deployment":
			o.deployment = new(apps.Deployment)
			strict(o.deployment)
		case "MutatingWebhookConfiguration":
			o.webhook = new(admissionregistration.MutatingWebhookConfiguration)
			strict(o.webhook)
		case "ClusterRole":
			var r rbac.ClusterRole
			strict(&r)
			o.roles = append(o.roles, r)
		case "ClusterRoleBinding":
			var b rbac.ClusterRoleBinding
			strict(&b)
			o.bindings = append(o.bindings, b)
		case "ServiceAccount":
			var a core.ServiceAccount
			strict(&a)
			o.accounts = append(o.accounts, a)
		case "ConfigMap":
			var c core.ConfigMap
			strict(&c)
			o.configs[c.Name] = c
		case "NetworkPolicy":
			o.policy = new(networking.NetworkPolicy)
			strict(o.policy)
		case "PodDisruptionBudget":
			o.budget = new(policy.PodDisruptionBudget)
			strict(o.budget)
		case "Service":
			o.service = new(core.Service)
			strict(o.service)
		case "Namespace":
			o.namespace = new(core.Namespace)
			strict(o.namespace)
		}
	}
	return o
}

// The plain manifests are the chart with its defaults.
func TestManifestsAreTheChart(t *testing.T) {
	text := "# SPDX-License-Identifier: Apache-2.0\n# Made from the chart: cd test/kubernetes && go test -run Manifests -update\n"
	text += strings.Join(append([]string{""}, documents(t, "namespace: {create: true}")...), "---\n")
	path := filepath.Join(packaging, "manifests", "phantom-ns.yaml")
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if had, err := os.ReadFile(path); err != nil || !bytes.Equal(had, []byte(text)) {
		t.Errorf("%s is not what the chart says (%v): run with -update", path, err)
	}
	// What test/cni/cri starts on a node.
	for name, values := range map[string]string{"full": full, "uninstall": full + "uninstall: true\n"} {
		golden := filepath.Join("testdata", name+".yaml")
		text := strings.Join(documents(t, values), "---\n")
		if *update {
			if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if had, err := os.ReadFile(golden); err != nil || string(had) != text {
			t.Errorf("%s is not what the chart says (%v): run with -update", golden, err)
		}
	}
}

func TestValuesAreChecked(t *testing.T) {
	loaded, err := loader.Load(filepath.Join(packaging, "chart"))
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []string{
		"polices: {}", "uninstall: yes please", "policies: {Coder: {namespaces: [], policy: x}}", "policies: {none: {namespaces: [], policy: x}}",
		"policies: {coder: {policy: x}}", "policies: {coder: {namespaces: [Team], policy: x}}", "policies: {coder: {namespaces: [a], policy: {version: 1}}}",
		"cni: {networksDir: etc}", "cni: {unfencedLink: yes}", "webhook: {replicas: 0}", "webhook: {apiServerPorts: [0]}", "webhook: {timeoutSeconds: 60}",
		"credentials: {openai: {secretName: ''}}", "credentials: {openai: {value: sk-real}}", "image: {repository: ''}", "daemon: {privileged: false}",
	} {
		given, err := chartutil.ReadValues([]byte(wrong))
		if err != nil {
			t.Fatal(err)
		}
		values, err := chartutil.CoalesceValues(loaded, given)
		if err != nil {
			t.Fatal(err)
		}
		if chartutil.ValidateAgainstSchema(loaded, values) == nil {
			t.Errorf("%q is taken", wrong)
		}
	}
	for _, right := range []string{"", full, "policies: {coder: {namespaces: ['*'], policy: 'version: 1'}}"} {
		rendered(t, right)
	}
}
