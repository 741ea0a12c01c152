// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	admission "k8s.io/api/admission/v1"
	admissionregistration "k8s.io/api/admissionregistration/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/phantom-ns/phantom-ns/enforcer/node/webhook"
)

// programs are the webhook's conditions. The API server knows more than is
// declared here: optional types, Kubernetes' own functions, an authorizer. It
// has a type for request and refuses fields that the type has not, which are
// only absent here, and it bounds what an evaluation may cost.
func programs(t *testing.T, conditions []admissionregistration.MatchCondition) []cel.Program {
	t.Helper()
	env, err := cel.NewEnv(cel.HomogeneousAggregateLiterals(),
		cel.Variable("object", cel.DynType), cel.Variable("oldObject", cel.DynType), cel.Variable("request", cel.DynType))
	if err != nil {
		t.Fatal(err)
	}
	var all []cel.Program
	for _, c := range conditions {
		ast, issues := env.Compile(c.Expression)
		if issues.Err() != nil || !ast.OutputType().IsExactType(cel.BoolType) {
			t.Fatalf("%s is no condition: %v", c.Name, issues.Err())
		}
		program, err := env.Program(ast)
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		all = append(all, program)
	}
	return all
}

// isAsked is what the API server makes of conditions: one that is false decides,
// whatever became of the others; else an error does, and the request is refused
// without asking, for failurePolicy is Fail.
func isAsked(conditions []cel.Program, variables map[string]any) (bool, error) {
	var errs error
	for _, c := range conditions {
		result, _, err := c.Eval(variables)
		if result == types.False {
			return false, nil
		}
		errs = errors.Join(errs, err)
	}
	return errs == nil, errs
}

// write is one to a pod, or a binding of it, by what is in its metadata; what
// was there before an UPDATE.
type write struct {
	what        string
	object, old meta.ObjectMeta
	asked       bool
}

// variables are the write as conditions see it, made by the API server's own
// converter: what is empty is absent.
func (w write) variables(t *testing.T, about string) map[string]any {
	t.Helper()
	operation, resource, _ := strings.Cut(about, " ")
	main, sub, _ := strings.Cut(resource, "/")
	what := meta.GroupVersionResource{Version: "v1", Resource: main}
	request := admission.AdmissionRequest{
		UID: "u", Operation: admission.Operation(operation), Name: "agent", Namespace: "team-a",
		Resource: what, SubResource: sub, RequestResource: &what, RequestSubResource: sub,
	}
	var object any = &core.Pod{ObjectMeta: w.object}
	if resource == "bindings" || sub == "binding" {
		object = &core.Binding{ObjectMeta: w.object, Target: core.ObjectReference{Kind: "Node", Name: "node"}}
	}
	all := map[string]any{"request": unstructured(t, &request), "object": unstructured(t, object), "oldObject": nil}
	if operation == "UPDATE" {
		all["oldObject"] = unstructured(t, &core.Pod{ObjectMeta: w.old})
	}
	return all
}

// review is the same, as the webhook would be sent it.
func review(t *testing.T, variables map[string]any) (r admission.AdmissionReview) {
	t.Helper()
	request := variables["request"].(map[string]any)
	request["object"], request["oldObject"] = variables["object"], variables["oldObject"]
	data, err := json.Marshal(map[string]any{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func unstructured(t *testing.T, object any) map[string]any {
	t.Helper()
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		t.Fatal(err)
	}
	return fields
}

// Whatever names a policy anew comes to the webhook; nothing else waits for it,
// which it would have let through, and no condition fails. The plain manifests
// are the default variant.
func TestTheWebhookIsAskedAboutNames(t *testing.T) {
	type text = map[string]string
	var (
		bare     = meta.ObjectMeta{Name: "agent"}
		foreign  = meta.ObjectMeta{Annotations: text{"a": "b"}, Labels: text{"a": "b"}}
		empty    = meta.ObjectMeta{Annotations: text{webhook.Key: ""}}
		coder    = meta.ObjectMeta{Annotations: text{webhook.Key: "coder"}}
		other    = meta.ObjectMeta{Annotations: text{webhook.Key: "other"}}
		labelled = meta.ObjectMeta{Labels: text{webhook.Key: "coder"}}
		both     = meta.ObjectMeta{Annotations: text{webhook.Key: "coder"}, Labels: text{webhook.Key: "coder"}}
		touched  = meta.ObjectMeta{Annotations: text{webhook.Key: "coder", "a": "b"}, Labels: text{webhook.Key: "coder", "a": "b"}, Finalizers: []string{"a/b"}}
	)
	made := []write{
		{"no metadata of note", bare, meta.ObjectMeta{}, false},
		{"others' keys", foreign, meta.ObjectMeta{}, false},
		{"annotation", coder, meta.ObjectMeta{}, true},
		{"label", labelled, meta.ObjectMeta{}, true},
	}
	changed := []write{
		{"nothing of ours", foreign, bare, false},
		{"ours stays, as others' change", touched, both, false},
		{"others' go", both, touched, false},
		{"annotation comes", coder, bare, true},
		{"annotation goes", bare, coder, true},
		{"annotation changes", other, coder, true},
		{"annotation is emptied", empty, coder, true},
		{"annotation is filled", coder, empty, true},
		{"nothing is named", empty, bare, false},
		{"label comes", both, coder, true},
		{"label goes", coder, both, true},
		{"label becomes annotation", coder, labelled, true},
	}
	debugged := []write{
		{"nothing of ours", foreign, foreign, false},
		{"annotation", coder, coder, true},
		{"label", labelled, labelled, true},
	}
	writes := map[string][]write{
		"CREATE pods": made, "CREATE pods/binding": made, "CREATE bindings": made,
		"UPDATE pods": changed, "UPDATE pods/status": changed, "UPDATE pods/ephemeralcontainers": debugged,
	}
	ask := webhookOf(t, full)
	for name, values := range variants {
		o := decoded(t, values)
		if o.webhook == nil {
			continue
		}
		conditions := programs(t, o.webhook.Webhooks[0].MatchConditions)
		for _, about := range ruled(o.webhook.Webhooks[0].Rules) {
			if writes[about] == nil {
				t.Errorf("%s: nobody says when it is asked about %s", name, about)
			}
			for _, w := range writes[about] {
				variables := w.variables(t, about)
				asked, err := isAsked(conditions, variables)
				if err != nil || asked != w.asked {
					t.Errorf("%s: %s, %s: asked: %v, %v", name, about, w.what, asked, err)
				}
				if answer := ask(review(t, variables)); !asked && (!answer.Allowed || answer.Patch != nil) {
					t.Errorf("%s: %s, %s: not asked, it would have answered %+v", name, about, w.what, answer)
				}
			}
		}
	}
}
