// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"slices"
	"testing"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// What Pod Security's own checks say of our pods and of those that hold a
// policy: the guide names the levels.
func TestPodSecurity(t *testing.T) {
	o := decoded(t, full)
	ask := webhookOf(t, full)
	before := podOf(t, strictest)
	after := patched(t, before, ask(reviewOf(t, "team-a", before, nil)))
	for _, c := range []struct {
		name                 string
		pod                  core.PodSpec
		baseline, restricted []string // what is against it
	}{
		{"the daemon", o.daemon.Spec.Template.Spec, []string{"host namespaces", "hostPath volumes", "privileged"}, []string{
			"allowPrivilegeEscalation != false", "host namespaces", "privileged", "restricted volume types", "runAsNonRoot != true",
			"seccompProfile", "unrestricted capabilities"}},
		{"the webhook", o.deployment.Spec.Template.Spec, nil, nil},
		{"a pod", before.Spec, nil, nil},
		{"a pod that holds a policy", after.Spec, []string{"hostPath volumes"}, []string{"restricted volume types"}},
	} {
		for level, want := range map[api.Level][]string{api.LevelBaseline: c.baseline, api.LevelRestricted: c.restricted} {
			if got := against(t, level, c.pod); !slices.Equal(got, want) {
				t.Errorf("%s, against %s: %q, want %q", c.name, level, got, want)
			}
		}
	}
}

// strictest is a pod that the strictest level admits.
const strictest = `
apiVersion: v1
kind: Pod
metadata: {name: agent, annotations: {phantom-ns.dev/policy: coder}}
spec:
  securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: agent
      image: node
      securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
`

// against are the reasons for which a level forbids a pod, in order.
func against(t *testing.T, level api.Level, pod core.PodSpec) []string {
	t.Helper()
	judge, err := policy.NewEvaluator(policy.DefaultChecks())
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, r := range judge.EvaluatePod(api.LevelVersion{Level: level, Version: api.LatestVersion()}, new(meta.ObjectMeta), &pod) {
		if !r.Allowed {
			all = append(all, r.ForbiddenReason)
		}
	}
	slices.Sort(all)
	return all
}
