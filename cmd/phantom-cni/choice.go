// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
)

// choice is what a container gets: a policy, or, where the node's owner said
// so by name, nothing of ours.
type choice struct {
	policy string
	exempt bool
}

// choose decides which policy a container is under. What names none is denied:
// a container that says nothing, or says it with an empty value, gets what
// default says, and that is no way out unless it is a name.
func (c *conf) choose(pod *api.Pod) (choice, error) {
	if c.Policy != "" {
		return choice{policy: c.Policy}, nil
	}
	if asked, what := c.asked(); asked != "" {
		if !api.ValidPolicy(asked) {
			return choice{}, invalid("%s names the policy %.80q, which no policy can be called", what, asked)
		}
		return choice{policy: asked}, nil
	}
	if pod != nil && slices.Contains(c.Exempt, pod.Namespace) {
		return choice{exempt: true}, nil
	}
	if c.Default != "" && c.Default != deny {
		return choice{policy: c.Default}, nil
	}
	return choice{policy: api.None}, nil
}

// asked returns the policy that the container names, and where.
func (c *conf) asked() (policy, what string) {
	switch {
	case c.From.Annotation != "":
		return c.annotations[c.From.Annotation], "annotation " + c.From.Annotation
	case c.From.Label != "":
		return c.labels[c.From.Label], "label " + c.From.Label
	}
	return "", ""
}

// podOf reads of CNI_ARGS whose container it is, as Kubernetes' runtimes write
// it there; nil for others. Arguments that are not known are for other plugins.
func podOf(arguments string) (*api.Pod, error) {
	var pod api.Pod
	names := map[string]*string{"K8S_POD_NAMESPACE": &pod.Namespace, "K8S_POD_NAME": &pod.Name, "K8S_POD_UID": &pod.UID}
	for pair := range strings.SplitSeq(arguments, ";") {
		key, value, ok := strings.Cut(pair, "=")
		if !ok && pair != "" {
			return nil, environment("CNI_ARGS", "%.80q is not KEY=VALUE", pair)
		}
		if into, known := names[key]; known {
			*into = value
		}
	}
	if pod == (api.Pod{}) {
		return nil, nil
	}
	return &pod, nil
}

// environment is the error about a variable of the environment, whose name the
// specification wants in the message.
func environment(name, format string, a ...any) error {
	return types.NewError(types.ErrInvalidEnvironmentVariables, name+": "+fmt.Sprintf(format, a...), "")
}
