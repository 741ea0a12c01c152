// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	admissionregistration "k8s.io/api/admissionregistration/v1"
	core "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
)

// variants are ways in which it is installed.
var variants = map[string]string{
	"default":         "namespace: {create: true}",
	"full":            full,
	"own certificate": "webhook: {replicas: 1, certificate: {secretName: tls, annotations: {cert-manager.io/inject-ca-from: phantom-ns/webhook}}}",
	"uninstall":       "uninstall: true",
}

func templates(o objects) []core.PodSpec {
	all := []core.PodSpec{o.daemon.Spec.Template.Spec}
	if o.deployment != nil {
		all = append(all, o.deployment.Spec.Template.Spec)
	}
	return all
}

// Every volume that is mounted is there, and each is mounted; what the API
// server would say only when it is too late.
func TestVolumesAreMounted(t *testing.T) {
	for name, values := range variants {
		for _, spec := range templates(decoded(t, values)) {
			used := map[string]bool{}
			for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
				at := map[string]bool{}
				for _, m := range c.VolumeMounts {
					if at[path.Clean(m.MountPath)] {
						t.Errorf("%s: %s mounts %s twice", name, c.Name, m.MountPath)
					}
					at[path.Clean(m.MountPath)], used[m.Name] = true, true
				}
			}
			for _, v := range spec.Volumes {
				if !used[v.Name] {
					t.Errorf("%s: nobody mounts %s", name, v.Name)
				}
				if delete(used, v.Name); len(v.Name) > 63 {
					t.Errorf("%s: %s is too long a name", name, v.Name)
				}
			}
			if len(used) > 0 {
				t.Errorf("%s: there are no volumes %v", name, used)
			}
			if len(spec.Volumes) == 0 {
				t.Errorf("%s: there are no volumes", name)
			}
		}
	}
}

// One container is privileged, and nobody else has any capability.
func TestPrivilegesAreTheDaemons(t *testing.T) {
	for name, values := range variants {
		privileged := 0
		for _, spec := range templates(decoded(t, values)) {
			if spec.HostPID || spec.HostIPC || spec.AutomountServiceAccountToken == nil {
				t.Errorf("%s: more of the host than it needs", name)
			}
			for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
				s := c.SecurityContext
				if s.Privileged != nil && *s.Privileged {
					if privileged++; c.Name != "daemon" && c.Name != "uninstall" {
						t.Errorf("%s: %s is privileged", name, c.Name)
					}
					continue
				}
				if s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || !slices.Equal(s.Capabilities.Drop, []core.Capability{"ALL"}) || len(s.Capabilities.Add) > 0 {
					t.Errorf("%s: %s may become more than it is", name, c.Name)
				}
			}
		}
		if privileged != 1 {
			t.Errorf("%s: %d are privileged", name, privileged)
		}
	}
}

// The daemon can ask the API server nothing; the webhook about one object, and
// with a certificate of somebody else's nothing either.
func TestRolesAreLeast(t *testing.T) {
	for name, values := range variants {
		o := decoded(t, values)
		if *o.daemon.Spec.Template.Spec.AutomountServiceAccountToken {
			t.Errorf("%s: the daemon has a token", name)
		}
		own := strings.Contains(values, "certificate:")
		if own && (len(o.roles) > 0 || len(o.bindings) > 0 || *o.deployment.Spec.Template.Spec.AutomountServiceAccountToken) {
			t.Errorf("%s: a role without need", name)
		}
		if own {
			continue
		}
		if len(o.roles) != 1 || len(o.roles[0].Rules) != 1 || len(o.bindings) != 1 || len(o.bindings[0].Subjects) != 1 {
			t.Fatalf("%s: %+v %+v", name, o.roles, o.bindings)
		}
		rule, subject := o.roles[0].Rules[0], o.bindings[0].Subjects[0]
		if !slices.Equal(rule.Verbs, []string{"get", "patch"}) || !slices.Equal(rule.ResourceNames, []string{"phantom-ns"}) ||
			!slices.Equal(rule.Resources, []string{"mutatingwebhookconfigurations"}) || subject.Name != "phantom-ns-webhook" || subject.Namespace != namespace {
			t.Errorf("%s: %+v for %+v", name, rule, subject)
		}
	}
}

// ruled are the requests that rules name, as "CREATE pods".
func ruled(rules []admissionregistration.RuleWithOperations) []string {
	var all []string
	for _, r := range rules {
		for _, operation := range r.Operations {
			for _, resource := range r.Resources {
				all = append(all, string(operation)+" "+resource)
			}
		}
	}
	return all
}

// A webhook that is away refuses, is asked about changes, and names what the
// pods behind it listen to.
func TestTheWebhookFailsClosed(t *testing.T) {
	for name, values := range variants {
		o := decoded(t, values)
		if name == "uninstall" {
			if o.webhook != nil || o.deployment != nil {
				t.Error("uninstall leaves the webhook")
			}
			continue
		}
		w := o.webhook.Webhooks[0]
		if len(o.webhook.Webhooks) != 1 || *w.FailurePolicy != admissionregistration.Fail || *w.SideEffects != admissionregistration.SideEffectClassNone ||
			w.ClientConfig.CABundle != nil || w.ObjectSelector != nil || *w.ReinvocationPolicy != admissionregistration.IfNeededReinvocationPolicy {
			t.Errorf("%s: %+v", name, w)
		}
		if asked := ruled(w.Rules); !slices.Equal(asked, []string{
			"CREATE pods", "UPDATE pods", "UPDATE pods/status", "UPDATE pods/ephemeralcontainers", "CREATE pods/binding", "CREATE bindings",
		}) {
			t.Errorf("%s: it is asked about %v", name, asked)
		}
		if w.ClientConfig.Service.Name != o.service.Name || *w.ClientConfig.Service.Port != o.service.Spec.Ports[0].Port || *w.ClientConfig.Service.Path != "/mutate" {
			t.Errorf("%s: another service: %+v", name, w.ClientConfig.Service)
		}
		labels := o.deployment.Spec.Template.Labels
		if len(o.service.Spec.Selector) < 2 {
			t.Errorf("%s: the service selects by %v alone", name, o.service.Spec.Selector)
		}
		for k, v := range o.service.Spec.Selector {
			if labels[k] != v || o.policy.Spec.PodSelector.MatchLabels[k] != v || o.deployment.Spec.Selector.MatchLabels[k] != v {
				t.Errorf("%s: %s is not selected by %s=%s", name, o.deployment.Name, k, v)
			}
		}
		if (*o.deployment.Spec.Replicas > 1) != (o.budget != nil) {
			t.Errorf("%s: a budget for %d replicas", name, *o.deployment.Spec.Replicas)
		}
	}
}

// The plugin is there before the daemon, and a restart takes nothing away.
func TestTheInstallerComesFirstAndStays(t *testing.T) {
	spec := decoded(t, full).daemon.Spec.Template.Spec
	if spec.InitContainers[0].Args[1] != "install" || !slices.Contains(spec.InitContainers[0].Args, "--wait") {
		t.Errorf("first comes %q", spec.InitContainers[0].Args)
	}
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		if c.Lifecycle != nil || slices.Contains(c.Args, "remove") || slices.Contains(c.Args, "--uninstall") {
			t.Errorf("%s removes something", c.Name)
		}
	}
	through := map[string]core.MountPropagationMode{}
	for _, m := range spec.Containers[0].VolumeMounts {
		if m.MountPropagation != nil {
			through[m.Name] = *m.MountPropagation
		}
	}
	if through["bpf"] != core.MountPropagationBidirectional || through["namespaces"] != core.MountPropagationHostToContainer {
		t.Errorf("mounts do not come through: %v", through)
	}
	secrets := 0
	for _, v := range spec.Volumes {
		if v.Secret == nil {
			continue
		}
		if secrets++; *v.Secret.DefaultMode != 0o400 {
			t.Errorf("%s is readable by others", v.Name)
		}
	}
	if secrets == 0 {
		t.Error("no secrets are mounted")
	}
	uninstall := decoded(t, "uninstall: true").daemon.Spec.Template.Spec
	if !slices.Equal(uninstall.InitContainers[0].Args, []string{"serve", "--uninstall"}) || !slices.Equal(uninstall.InitContainers[1].Args, []string{"cni", "remove"}) {
		t.Errorf("uninstall does %q, then %q", uninstall.InitContainers[0].Args, uninstall.InitContainers[1].Args)
	}
}

// Another policy makes other pods: the daemon reads it when it starts.
func TestTheDaemonStartsAnewForOtherPolicies(t *testing.T) {
	sums := map[string]bool{}
	for _, values := range []string{"", full, strings.Replace(full, "/data/", "/", 1), strings.Replace(full, "provider: openai", "provider: anthropic", 1)} {
		sums[decoded(t, values).daemon.Spec.Template.Annotations["phantom-ns.dev/configuration"]] = true
	}
	if len(sums) != 3 { // the second and third are the same
		t.Errorf("%d configurations", len(sums))
	}
}

func TestTheEntryAndTheGrants(t *testing.T) {
	config := decoded(t, strings.Replace(full, "daemon:", "cni: {exemptNamespaces: [kube-system, phantom-ns, web]}\ndaemon:", 1)).configs["phantom-ns"]
	want := `{"capabilities":{"io.kubernetes.cri.pod-annotations":true},"default":"deny","exempt":{"namespaces":["kube-system","phantom-ns","web"]},"policyFrom":{"annotation":"phantom-ns.dev/policy"},"type":"phantom-cni","unfencedLink":"refuse"}`
	if config.Data["entry.json"] != want {
		t.Errorf("entry: %s", config.Data["entry.json"])
	}
	var grants map[string][]string
	if err := json.Unmarshal([]byte(config.Data["grants.json"]), &grants); err != nil || !slices.Equal(grants["coder"], []string{"team-a", "team-b"}) || len(grants) != 1 {
		t.Errorf("grants: %v, %v", grants, err)
	}
	var said struct {
		Policies map[string]struct{ Policy string }
	}
	if err := yaml.Unmarshal([]byte(full), &said); err != nil {
		t.Fatal(err)
	}
	if got := decoded(t, full).configs["phantom-ns-policies"].Data; len(got) != 1 || got["coder.yaml"] != said.Policies["coder"].Policy {
		t.Errorf("policies: %q", got)
	}
}

// The image is built of what the programs are made of, and of no test: what
// Docker copies has all of their packages, and its builder is new enough.
func TestTheImageHasEveryPackage(t *testing.T) {
	file, err := os.ReadFile(filepath.Join(packaging, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	var copied []string
	for line := range strings.Lines(string(file)) {
		if from, ok := strings.CutPrefix(line, "COPY "); ok && !strings.HasPrefix(from, "--") {
			fields := strings.Fields(from)
			copied = append(copied, fields[:len(fields)-1]...)
		}
	}
	if !slices.Equal(copied, []string{"go.mod", "go.sum", "bpf", "cmd", "enforcer", "netns", "proxy"}) {
		t.Errorf("it copies %v", copied)
	}
	list := exec.Command("go", "list", "-deps", "-tags", "netgo,osusergo", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "./cmd/phantom-ns", "./cmd/phantom-cni")
	list.Dir, list.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	ours := 0
	for imported := range strings.Lines(string(out)) {
		room, is := strings.CutPrefix(strings.TrimSpace(imported), "github.com/phantom-ns/phantom-ns/")
		if !is {
			continue
		}
		if ours++; !slices.Contains(copied, strings.Split(room, "/")[0]) {
			t.Errorf("%s is not copied", room)
		}
	}
	if ours < 10 {
		t.Errorf("%d packages of ours", ours)
	}
}

// The plugin takes the entry as it is, and of a pod as the webhook left it the
// policy, which is what it asks the daemon for.
func TestThePluginTakesTheEntry(t *testing.T) {
	plugin := filepath.Join(t.TempDir(), "phantom-cni")
	build := exec.Command("go", "build", "-tags", "netgo,osusergo", "-o", plugin, "./cmd/phantom-cni")
	build.Dir, build.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var conf map[string]any
	if err := json.Unmarshal([]byte(decoded(t, full).configs["phantom-ns"].Data["entry.json"]), &conf); err != nil {
		t.Fatal(err)
	}
	pod := podOf(t, agent)
	pod = patched(t, pod, webhookOf(t, full)(reviewOf(t, "team-a", pod, nil)))
	socket, asked := busyDaemon(t)
	conf["cniVersion"], conf["name"], conf["socket"] = "1.0.0", "net", socket
	conf["runtimeConfig"] = map[string]any{"io.kubernetes.cri.pod-annotations": pod.Annotations}
	conf["prevResult"] = map[string]any{"cniVersion": "1.0.0", "interfaces": []any{map[string]string{"name": "eth0", "sandbox": "/run/netns/x"}}}
	for unfenced, want := range map[string]float64{"refuse": 11, "maybe": 7} {
		conf["unfencedLink"] = unfenced
		data, err := json.Marshal(conf)
		if err != nil {
			t.Fatal(err)
		}
		add := exec.Command(plugin)
		add.Stdin = bytes.NewReader(data)
		add.Env = []string{"CNI_COMMAND=ADD", "CNI_CONTAINERID=a", "CNI_NETNS=/run/netns/x", "CNI_IFNAME=eth0", "CNI_PATH=/none",
			"CNI_ARGS=K8S_POD_NAMESPACE=team-a;K8S_POD_NAME=agent"}
		out, _ := add.Output() // it ends with 1 either way
		var told struct{ Code float64 }
		if err := json.Unmarshal(out, &told); err != nil || told.Code != want {
			t.Errorf("%s: %s, %v; want code %v", unfenced, out, err, want)
		}
	}
	if len(asked) != 1 || (<-asked).Policy != "coder" {
		t.Error("the daemon is not asked once for the policy")
	}
}

// busyDaemon answers every attachment that it has no time, and tells of it.
func busyDaemon(t *testing.T) (socket string, asked chan api.Attachment) {
	t.Helper()
	socket, asked = filepath.Join(t.TempDir(), "socket"), make(chan api.Attachment, 10)
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var a api.Attachment
		if err := api.Decode(r.Body, api.MaxRequest, &a); err != nil || r.URL.Path != "/v1/attach" {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		asked <- a
		busy := &api.Error{Code: api.CodeBusy, Message: "later"}
		w.WriteHeader(busy.Status())
		json.NewEncoder(w).Encode(busy)
	})}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return socket, asked
}
