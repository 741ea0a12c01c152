// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/phantom-ns/phantom-ns/enforcer/node/cdi"
)

// operation is one of a JSON patch (RFC 6902).
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// escape writes a key as a part of a JSON pointer (RFC 6901).
func escape(key string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}

// addition is a container that is given something, and where it stands.
type addition struct {
	*container
	at string
}

func additions(list string, containers []container) []addition {
	var all []addition
	for i := range containers {
		all = append(all, addition{&containers[i], "/spec/" + list + "/" + strconv.Itoa(i)})
	}
	return all
}

// addTo gives volumes to a pod, and environment and mounts to containers of it.
// What is there already is left: the API server may ask twice about one pod.
func addTo(spec *podSpec, to []addition, mounts []cdi.Mount, env []string) ([]operation, error) {
	if len(to) == 0 {
		return nil, nil
	}
	volumes := volumesOf(mounts)
	patch, err := addVolumes(spec.Volumes, volumes)
	if err != nil {
		return nil, err
	}
	for _, c := range to {
		variables, err := c.variables(env)
		if err != nil {
			return nil, fmt.Errorf("container %.80q: %w", c.Name, err)
		}
		wanted, err := c.mounts(mounts, volumes)
		if err != nil {
			return nil, fmt.Errorf("container %.80q: %w", c.Name, err)
		}
		patch = append(patch, appended(c.at+"/env", len(c.Env) == 0, variables)...)
		patch = append(patch, appended(c.at+"/volumeMounts", len(c.Mounts) == 0, wanted)...)
	}
	return patch, nil
}

// appended puts values at the end of a list, which is not there where it is
// empty.
func appended[T any](at string, empty bool, values []T) []operation {
	if len(values) == 0 {
		return nil
	}
	if empty {
		return []operation{{"add", at, values}}
	}
	var patch []operation
	for _, v := range values {
		patch = append(patch, operation{"add", at + "/-", v})
	}
	return patch
}

// volumePrefix begins the names of ours.
const volumePrefix = "phantom-ns"

// volumesOf has one volume for each file: a container that comes later may
// mount no part of a volume. The kubelet starts nothing on a node on which the
// file is not there.
func volumesOf(mounts []cdi.Mount) []volume {
	var all []volume
	for i, m := range mounts {
		v := volume{volumePrefix, &hostPath{m.Source, "Directory"}}
		if i > 0 {
			v = volume{volumePrefix + "-" + strings.ReplaceAll(filepath.Base(m.Source), ".", "-"), &hostPath{m.Source, "File"}}
		}
		if volumeOf(all, m.Source) == nil {
			all = append(all, v)
		}
	}
	return all
}

func volumeOf(volumes []volume, source string) *volume {
	at := slices.IndexFunc(volumes, func(v volume) bool { return v.HostPath.Path == source })
	if at < 0 {
		return nil
	}
	return &volumes[at]
}

func addVolumes(had, wanted []volume) ([]operation, error) {
	var missing []volume
	for _, w := range wanted {
		at := slices.IndexFunc(had, func(h volume) bool { return h.Name == w.Name })
		switch {
		case at < 0:
			missing = append(missing, w)
		case had[at].HostPath == nil || *had[at].HostPath != *w.HostPath:
			return nil, fmt.Errorf("volume %q: %w", w.Name, errVolume)
		}
	}
	return appended("/spec/volumes", len(had) == 0, missing), nil
}

// variables are those that the container lacks.
func (c *container) variables(env []string) ([]variable, error) {
	var missing []variable
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		there := false
		for _, had := range c.Env {
			if had.Name != name {
				continue
			}
			if there = had.Value == value && had.ValueFrom == nil; !there {
				return nil, fmt.Errorf("%s: %w", name, errVariable)
			}
		}
		if !there {
			missing = append(missing, variable{Name: name, Value: value})
		}
	}
	return missing, nil
}

// mounts are those that the container lacks. A mount of its own above one of
// them is no conflict: runtimes mount what lies deeper later.
func (c *container) mounts(wanted []cdi.Mount, volumes []volume) ([]mount, error) {
	var ours []mount
	for _, w := range wanted {
		ours = append(ours, mount{Name: volumeOf(volumes, w.Source).Name, Path: w.Target, ReadOnly: true})
	}
	for _, had := range c.Mounts {
		if !slices.Contains(ours, had) && had.meets(ours) {
			return nil, fmt.Errorf("%.80q: %w", had.Path, errMount)
		}
	}
	return slices.DeleteFunc(ours, func(m mount) bool { return slices.Contains(c.Mounts, m) }), nil
}

// meets tells whether a mount covers one of ours, or is of a volume of ours:
// mounted anywhere else, that could be written, and all containers of the
// policy on the node have it. An image's own links are not known here: what is
// mounted over ours by one hides it from that container alone.
func (m mount) meets(ours []mount) bool {
	at := path.Clean("/" + m.Path)
	return slices.ContainsFunc(ours, func(o mount) bool {
		return m.Name == o.Name || at == o.Path || strings.HasPrefix(at, o.Path+"/")
	})
}
