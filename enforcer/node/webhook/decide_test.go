// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/enforcer/node/cdi"
	"github.com/phantom-ns/phantom-ns/enforcer/node/grants"
)

// asked makes a review of a pod's JSON, and of the one before for an update.
func asked(t testing.TB, object, old string) *request {
	t.Helper()
	operation, before := "CREATE", "null"
	if old != "" {
		operation, before = "UPDATE", old
	}
	r, err := parseReview(fmt.Appendf(nil, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{
		"uid":"u","resource":{"group":"","version":"v1","resource":"pods"},"namespace":"team",
		"operation":%q,"object":%s,"oldObject":%s}}`, operation, object, before))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func granted(policy, namespace string) ([]string, error) {
	if policy != "coder" && policy != "none" || namespace != "team" {
		return nil, grants.ErrNotGranted
	}
	return []string{"API_KEY=API_KEY"}, nil
}

const coder = `{"metadata":{"annotations":{"phantom-ns.dev/policy":"coder"}},"spec":{%s}}`

func pods(spec string) string { return fmt.Sprintf(coder, spec) }

func TestPodsThatCannotBeHeldAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		object, old string
		want        error
	}{
		"host network":      {pods(`"hostNetwork":true`), "", errHostNetwork},
		"host processes":    {pods(`"hostPID":true`), "", errHostPID},
		"windows":           {pods(`"os":{"name":"windows"}`), "", errWindows},
		"privileged":        {pods(`"containers":[{"name":"a"},{"name":"b","securityContext":{"privileged":true}}]`), "", errPrivileged},
		"privileged init":   {pods(`"initContainers":[{"name":"b","securityContext":{"privileged":true}}]`), "", errPrivileged},
		"capability":        {pods(`"containers":[{"name":"a","securityContext":{"capabilities":{"add":["SYS_ADMIN"]}}}]`), "", errCapability},
		"capability's name": {pods(`"containers":[{"name":"a","securityContext":{"capabilities":{"add":["cap_bpf"]}}}]`), "", errCapability},
		"all capabilities":  {pods(`"containers":[{"name":"a","securityContext":{"capabilities":{"add":["ALL"]}}}]`), "", errCapability},
		"own users":         {pods(`"hostUsers":false,"containers":[{"name":"a","securityContext":{"capabilities":{"add":["SYS_ADMIN"]}}}]`), "", nil},
		"links of the host": {pods(`"initContainers":[{"name":"a","securityContext":{"capabilities":{"add":["NET_RAW","NET_ADMIN"]}}}]`), "", errCapability},
		"raw sockets":       {pods(`"containers":[{"name":"a","securityContext":{"capabilities":{"add":["NET_RAW"]}}}]`), "", nil},
		"another value":     {pods(`"containers":[{"name":"a","env":[{"name":"API_KEY","value":"sk-real"}]}]`), "", errVariable},
		"a value from elsewhere": {
			pods(`"containers":[{"name":"a","env":[{"name":"API_KEY","value":"API_KEY","valueFrom":{"secretKeyRef":{"name":"x","key":"y"}}}]}]`), "", errVariable},
		"the same value":      {pods(`"containers":[{"name":"a","env":[{"name":"API_KEY","value":"API_KEY"}]}]`), "", nil},
		"another mount":       {pods(`"containers":[{"name":"a","volumeMounts":[{"name":"x","mountPath":"/etc/ssl/cert.pem"}]}]`), "", errMount},
		"a mount inside":      {pods(`"containers":[{"name":"a","volumeMounts":[{"name":"x","mountPath":"run/phantom-ns/ca.pem/"}]}]`), "", errMount},
		"a mount above":       {pods(`"containers":[{"name":"a","volumeMounts":[{"name":"x","mountPath":"/etc/ssl"}]}]`), "", nil},
		"a mount by a link":   {pods(`"containers":[{"name":"a","volumeMounts":[{"name":"x","mountPath":"/var/run/phantom-ns"}]}]`), "", nil},
		"our volume, written": {pods(`"containers":[{"name":"a","volumeMounts":[{"name":"phantom-ns","mountPath":"/x"}]}]`), "", errMount},
		"our volume, read":    {pods(`"initContainers":[{"name":"a","volumeMounts":[{"name":"phantom-ns-bundle-pem","mountPath":"/x","readOnly":true}]}],"containers":[{"name":"b"}]`), "", errMount},
		"ours, written":       {pods(`"containers":[{"name":"a","volumeMounts":[{"name":"phantom-ns","mountPath":"/run/phantom-ns"}]}]`), "", errMount},
		"ours":                {pods(`"containers":[{"name":"a","volumeMounts":[{"name":"phantom-ns","mountPath":"/run/phantom-ns","readOnly":true}]}]`), "", nil},
		"our volume's name":   {pods(`"volumes":[{"name":"phantom-ns","emptyDir":{}}]` + `,"containers":[{"name":"a"}]`), "", errVolume},
		"many containers":     {pods(`"initContainers":[` + strings.Repeat(`{},`, maxContainers-1) + `{}],"containers":[{}]`), "", errContainers},
		"two names":           {`{"metadata":{"annotations":{"phantom-ns.dev/policy":"coder"},"labels":{"phantom-ns.dev/policy":"other"}}}`, "", errTwoNames},
		"no name":             {`{"metadata":{"labels":{"phantom-ns.dev/policy":"../x"}}}`, "", errName},
		"no grant":            {`{"metadata":{"labels":{"phantom-ns.dev/policy":"other"}}}`, "", grants.ErrNotGranted},
		"added later":         {pods(``), `{"metadata":{"annotations":{"a":"b"}}}`, errChanged},
		"removed later":       {`{}`, pods(``), errChanged},
		"label later":         {`{"metadata":{"labels":{"phantom-ns.dev/policy":"coder"}}}`, `{}`, errChanged},
		"none of ours":        {`{"spec":{"hostNetwork":true}}`, "", nil},
		"as it was":           {pods(`"hostNetwork":true`), pods(`"hostNetwork":true`), nil},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := decide(asked(t, test.object, test.old), cdi.Layout{}, granted); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

// A binding's annotations become the pod's, so they are granted as the pod's are.
// Some schedulers write there what the pod names.
func TestABindingNamesWhatIsGranted(t *testing.T) {
	for _, by := range [][2]string{{"pods", "binding"}, {"bindings", ""}} {
		for object, want := range map[string]error{
			pods(``): nil,
			`{"metadata":{"annotations":{"phantom-ns.dev/policy":"other"}}}`: grants.ErrNotGranted,
			`{"metadata":{"annotations":{"a":"b"}}}`:                         nil,
			`{"metadata":{"annotations":{"phantom-ns.dev/policy":"a\nb"}}}`:  errName,
		} {
			r := asked(t, object, "")
			r.Resource.Resource, r.SubResource = by[0], by[1]
			if v, err := decide(r, cdi.Layout{}, granted); !errors.Is(err, want) || v.patch != nil {
				t.Errorf("%v of %s: %v, %v", by, object, v, err)
			}
		}
	}
}

// What writes a pod's status writes its annotations, too.
func TestAStatusNamesNoPolicy(t *testing.T) {
	for old, want := range map[string]error{`{}`: errChanged, pods(`"hostPID":true`): nil} {
		r := asked(t, pods(`"hostPID":true`), old)
		r.SubResource = "status"
		if v, err := decide(r, cdi.Layout{}, granted); !errors.Is(err, want) || v.patch != nil {
			t.Errorf("after %s: %v, %v", old, v, err)
		}
	}
}

func TestOnlyPodsAreAnswered(t *testing.T) {
	for _, change := range []func(*request){
		func(r *request) { r.Resource.Resource = "deployments" },
		func(r *request) { r.Resource.Group = "apps" },
		func(r *request) { r.Operation = "CONNECT" },
		func(r *request) { r.Operation = "DELETE" },
		func(r *request) { r.SubResource = "status" },
		func(r *request) { r.SubResource, r.Resource.Group = "binding", "apps" },
		func(r *request) { r.SubResource, r.Object = "binding", nil },
		func(r *request) { r.Operation = "UPDATE" },
		func(r *request) { r.Object = nil },
	} {
		r := asked(t, pods(``), "")
		change(r)
		if _, err := decide(r, cdi.Layout{}, granted); !errors.Is(err, errRequest) {
			t.Errorf("%+v: %v", r, err)
		}
	}
}

// Each container gets everything, and a second time nothing.
func TestEveryContainerIsGiven(t *testing.T) {
	v, err := decide(asked(t, pods(`"initContainers":[{"name":"i"}],"containers":[{"name":"a"},{"name":"b","env":[{"name":"X","value":"y"}]}]`), ""), cdi.Layout{}, granted)
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]int{}
	for _, o := range v.patch {
		at[o.Path]++
	}
	mounts := len(cdi.Layout{}.Mounts("coder"))
	for path, want := range map[string]int{
		"/spec/volumes": 1, "/spec/initContainers/0/env": 1, "/spec/initContainers/0/volumeMounts": 1,
		"/spec/containers/0/env": 1, "/spec/containers/0/volumeMounts": 1,
		"/spec/containers/1/env/-": 1, "/spec/containers/1/volumeMounts": 1,
	} {
		if at[path] != want {
			t.Errorf("%d operations at %s, not %d", at[path], path, want)
		}
		delete(at, path)
	}
	if len(at) > 0 {
		t.Errorf("more: %v", at)
	}
	if got := len(v.patch[1].Value.([]variable)); got != 1 {
		t.Errorf("%d variables", got)
	}
	if got := len(v.patch[2].Value.([]mount)); got != mounts {
		t.Errorf("%d mounts, not %d", got, mounts)
	}
}

func TestTheLabelBecomesTheAnnotation(t *testing.T) {
	for object, want := range map[string]string{
		`{"metadata":{"labels":{"phantom-ns.dev/policy":"none"}}}`:                                        `[{"op":"add","path":"/metadata/annotations","value":{"phantom-ns.dev/policy":"none"}}]`,
		`{"metadata":{"annotations":{"a":"b"},"labels":{"phantom-ns.dev/policy":"none"}}}`:                `[{"op":"add","path":"/metadata/annotations/phantom-ns.dev~1policy","value":"none"}]`,
		`{"metadata":{"annotations":{"phantom-ns.dev/policy":""},"labels":{"phantom-ns.dev/policy":""}}}`: `null`,
	} {
		v, err := decide(asked(t, object, ""), cdi.Layout{}, granted)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := json.Marshal(v.patch); err != nil || string(got) != want {
			t.Errorf("%s: %s, %v; want %s", object, got, err, want)
		}
	}
}

// A debugger of a pod that lives gets what the others have; its volumes are
// there, and nothing but it changes.
func TestEphemeralContainersAreGiven(t *testing.T) {
	volumes, err := json.Marshal(volumesOf(cdi.Layout{}.Mounts("coder")))
	if err != nil {
		t.Fatal(err)
	}
	spec := `"volumes":` + string(volumes) + `,"containers":[{"name":"a"}],"ephemeralContainers":[{"name":"old"}%s]`
	r := asked(t, pods(fmt.Sprintf(spec, `,{"name":"new"}`)), pods(fmt.Sprintf(spec, "")))
	r.SubResource = "ephemeralcontainers"
	v, err := decide(r, cdi.Layout{}, granted)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range v.patch {
		if !strings.HasPrefix(o.Path, "/spec/ephemeralContainers/1/") {
			t.Errorf("changes %s", o.Path)
		}
	}
	if len(v.patch) != 2 {
		t.Errorf("%d operations, not environment and mounts", len(v.patch))
	}
	r = asked(t, pods(`"ephemeralContainers":[{"name":"new"}]`), pods(``))
	r.SubResource = "ephemeralcontainers"
	if _, err := decide(r, cdi.Layout{}, granted); !errors.Is(err, errOld) {
		t.Errorf("a pod without volumes: %v", err)
	}
}

func FuzzReview(f *testing.F) {
	f.Add([]byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","resource":{"group":"","version":"v1","resource":"pods"},"namespace":"team","operation":"CREATE","object":` + pods(`"containers":[{"name":"a","env":[{"name":"A"}],"volumeMounts":[{"mountPath":"/x"}]}]`) + `}}`))
	f.Add([]byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","subResource":"ephemeralcontainers","operation":"UPDATE","object":null,"oldObject":{}}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := parseReview(body)
		if err != nil {
			return
		}
		v, err := decide(r, cdi.Layout{}, granted)
		if err != nil && v.patch != nil {
			t.Error("a refusal has a patch")
		}
		if _, err := json.Marshal(v.patch); err != nil {
			t.Error(err)
		}
		if err == nil && r.Operation == "CREATE" && len(v.patch) > 0 && (r.Object.Spec.HostNetwork || r.Namespace != "team") {
			t.Error("a pod was given what it must not have")
		}
	})
}
