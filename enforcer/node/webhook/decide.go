// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
	"github.com/phantom-ns/phantom-ns/enforcer/node/cdi"
	"github.com/phantom-ns/phantom-ns/enforcer/node/oci"
)

// Key is the annotation by which a pod names its policy. A label of the same
// key is made into it: no runtime tells a plugin of labels.
const Key = "phantom-ns.dev/policy"

// Why a pod is refused. Whoever made it reads them.
var (
	errRequest     = errors.New("the webhook was asked about something else than pods; its configuration is not the one that comes with it")
	errTwoNames    = fmt.Errorf("label and annotation %s name different policies", Key)
	errName        = fmt.Errorf("%s names what no policy can be called", Key)
	errChanged     = fmt.Errorf("%s cannot be changed, added or removed while the pod lives; make a new one", Key)
	errHostNetwork = errors.New("hostNetwork: the pod has no network namespace that could be held to a policy")
	errHostPID     = errors.New("hostPID: processes of the host are a way past the fence")
	errPrivileged  = errors.New("privileged: no fence holds such a container")
	errCapability  = errors.New("capability reaches past the fence")
	errWindows     = errors.New("os: only pods of Linux can be held to a policy")
	errVariable    = errors.New("variable is set already, to something else; remove it")
	errMount       = errors.New("something else is mounted where trust is, or trust elsewhere; remove it")
	errOld         = errors.New("the pod was made before the webhook was there and has no volumes for trust; make it anew")
	errVolume      = errors.New("a volume's name is one of phantom-ns's; rename it")
	errContainers  = fmt.Errorf("the pod has more than %d containers", maxContainers)
)

// maxContainers bounds an answer: what a container is given has some 3 KiB, and
// etcd takes no pod of more than 1.5 MiB.
const maxContainers = 512

// verdict is what is done with a pod: nothing, or an addition.
type verdict struct {
	patch []operation
}

// decide is the whole decision. environ is what containers of the policy get;
// it fails for a policy that the namespace was not granted.
func decide(r *request, layout cdi.Layout, environ func(policy, namespace string) ([]string, error)) (verdict, error) {
	if err := r.check(); err != nil {
		return verdict{}, err
	}
	if r.Operation == "UPDATE" {
		if !sameNames(r.Old, r.Object) {
			return verdict{}, errChanged
		}
		// What was there before the webhook may say what is refused today.
		if r.SubResource != "ephemeralcontainers" || r.Object.Metadata.Annotations[Key] == "" {
			return verdict{}, nil
		}
	}
	name, err := r.Object.policy()
	if err != nil || name == "" {
		return verdict{}, err
	}
	env, err := environ(name, r.Namespace)
	if err != nil || r.binds() {
		return verdict{}, err
	}
	patch, err := r.patch(name, layout.Mounts(name), env)
	if err != nil {
		return verdict{}, fmt.Errorf("policy %s: %w", name, err)
	}
	return verdict{patch}, nil
}

// patch makes the pod, which is granted the policy, one that has it.
func (r *request) patch(name string, mounts []cdi.Mount, env []string) ([]operation, error) {
	if err := r.Object.Spec.check(); err != nil {
		return nil, err
	}
	patch := r.Object.annotate(name)
	if name == api.None { // which has no way out, and so nobody to trust
		return patch, nil
	}
	added, err := addTo(&r.Object.Spec, newOf(r), mounts, env)
	if err == nil && r.Operation == "UPDATE" && slices.ContainsFunc(added, func(o operation) bool { return strings.HasPrefix(o.Path, "/spec/volumes") }) {
		err = errOld
	}
	return append(patch, added...), err
}

func (r *request) check() error {
	pods := r.Resource == resource{"", "v1", "pods"}
	created := pods && r.Operation == "CREATE" && r.SubResource == ""
	updated := pods && r.Operation == "UPDATE" && slices.Contains([]string{"", "status", "ephemeralcontainers"}, r.SubResource) && r.Old != nil
	if r.Object == nil || !created && !updated && !r.binds() {
		return errRequest
	}
	return nil
}

// binds tells that a pod is given its node. The API server writes annotations of
// the binding into the pod (setPodHostAndAnnotations), and some schedulers, as
// Volcano, write the pod's into the binding: which they are no review says.
func (r *request) binds() bool {
	what := r.Resource.Resource
	if r.SubResource != "" {
		what += "/" + r.SubResource
	}
	return r.Operation == "CREATE" && r.Resource.Group == "" && r.Resource.Version == "v1" && (what == "pods/binding" || what == "bindings")
}

// policy is what the pod names; "" where it names none, as the plugin has it.
func (p *pod) policy() (string, error) {
	annotation, label := p.Metadata.Annotations[Key], p.Metadata.Labels[Key]
	if annotation != "" && label != "" && annotation != label {
		return "", errTwoNames
	}
	name := cmp.Or(annotation, label)
	if name != "" && !api.ValidPolicy(name) {
		return "", fmt.Errorf("%.80q: %w", name, errName)
	}
	return name, nil
}

// sameNames compares what the plugin reads, and what is made into it.
func sameNames(a, b *pod) bool {
	return a.Metadata.Annotations[Key] == b.Metadata.Annotations[Key] && a.Metadata.Labels[Key] == b.Metadata.Labels[Key]
}

// annotate writes the name where the plugin reads it.
func (p *pod) annotate(name string) []operation {
	switch {
	case p.Metadata.Annotations[Key] == name:
		return nil
	case p.Metadata.Annotations == nil:
		return []operation{{"add", "/metadata/annotations", map[string]string{Key: name}}}
	}
	return []operation{{"add", "/metadata/annotations/" + escape(Key), name}}
}

// check refuses what a session could not hold, as [oci] does.
func (s *podSpec) check() error {
	switch {
	case s.HostNetwork:
		return errHostNetwork
	case s.HostPID:
		return errHostPID
	case s.OS != nil && s.OS.Name != "linux":
		return errWindows
	case len(s.Init)+len(s.Containers)+len(s.Ephemeral) > maxContainers:
		return errContainers
	}
	for _, list := range [][]container{s.Init, s.Containers, s.Ephemeral} {
		for i := range list {
			if err := list[i].check(s.HostUsers != nil && !*s.HostUsers); err != nil {
				return fmt.Errorf("container %.80q: %w", list[i].Name, err)
			}
		}
	}
	return nil
}

// check takes capabilities that a user namespace of the pod's own makes good
// for nothing outside.
func (c *container) check(ownUsers bool) error {
	if c.Security == nil {
		return nil
	}
	if c.Security.Privileged != nil && *c.Security.Privileged {
		return errPrivileged
	}
	if c.Security.Capabilities == nil || ownUsers {
		return nil
	}
	for _, named := range c.Security.Capabilities.Add {
		name := strings.ToUpper(named)
		if !strings.HasPrefix(name, "CAP_") {
			name = "CAP_" + name
		}
		if name == "CAP_ALL" || slices.Contains(oci.Unheld(), name) {
			return fmt.Errorf("%.40s: %w", named, errCapability)
		}
	}
	return nil
}

// newOf are the containers that the request brings: of a pod that lives, the
// ephemeral ones that it did not have.
func newOf(r *request) []addition {
	if r.Operation == "CREATE" {
		return append(additions("initContainers", r.Object.Spec.Init), additions("containers", r.Object.Spec.Containers)...)
	}
	return slices.DeleteFunc(additions("ephemeralContainers", r.Object.Spec.Ephemeral), func(a addition) bool {
		return slices.ContainsFunc(r.Old.Spec.Ephemeral, func(c container) bool { return c.Name == a.Name })
	})
}
