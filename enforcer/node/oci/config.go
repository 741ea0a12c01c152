// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Edits are what a policy adds to a container.
type Edits struct {
	Env    []string // NAME=value; in place of what the image or the user set
	Mounts []Mount
	Attach Hook // before the container's first instruction
	Detach Hook // after it is gone
}

// Mount is a read-only bind.
type Mount struct {
	Source string
	Target string
}

// Hook is a program that the runtime starts; it gets the container's [State].
type Hook struct {
	Path    string   `json:"path"`
	Args    []string `json:"args"`
	Timeout int      `json:"timeout"` // seconds; the runtime kills it then, and fails
}

// object is a JSON object whose values are not looked at until somebody asks.
type object map[string]json.RawMessage

// get decodes the value of a key into to, which stays as it is without one.
func (o object) get(key string, to any) error {
	value, ok := o[key]
	if !ok {
		return nil
	}
	if err := json.Unmarshal(value, to); err != nil {
		return fmt.Errorf("decode %s: %w", key, err)
	}
	return nil
}

func (o object) set(key string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode %s: %w", key, err)
	}
	o[key] = data
	return nil
}

// Config returns the configuration of a container (config.json of a bundle)
// with the edits, or why it cannot be held. Editing twice is editing once.
func Config(data []byte, e Edits) ([]byte, error) {
	var config object
	if err := json.Unmarshal(data, &config); err != nil {
		return nil, fmt.Errorf("decode configuration: %w", err)
	}
	if err := check(config); err != nil {
		return nil, err
	}
	for _, edit := range []func(object, Edits) error{editProcess, editMounts, editHooks} {
		if err := edit(config, e); err != nil {
			return nil, err
		}
	}
	return json.Marshal(config)
}

// Process returns the description of one more process in a container (what
// `runc exec --process` reads) with the policy's environment: the runtime's
// client knows only the one that it set itself. Such a process is where the
// container is; what it may have of the host is checked again.
func Process(data []byte, env []string) ([]byte, error) {
	var process object
	if err := json.Unmarshal(data, &process); err != nil {
		return nil, fmt.Errorf("decode process: %w", err)
	}
	if err := checkCapabilities(process); err != nil {
		return nil, err
	}
	if err := setEnv(process, env); err != nil {
		return nil, err
	}
	return json.Marshal(process)
}

func editProcess(config object, e Edits) error {
	var process object
	if err := config.get("process", &process); err != nil {
		return err
	}
	if process == nil {
		return nil // a container that `exec` alone will use: allowed by the specification
	}
	if err := setEnv(process, e.Env); err != nil {
		return err
	}
	return config.set("process", process)
}

// setEnv gives each name one value, ours: which of two a program finds differs
// between programs.
func setEnv(process object, env []string) error {
	var old []string
	if err := process.get("env", &old); err != nil {
		return err
	}
	ours := map[string]bool{}
	for _, v := range env {
		name, _, _ := strings.Cut(v, "=")
		ours[name] = true
	}
	old = slices.DeleteFunc(old, func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return ours[name]
	})
	return process.set("env", append(old, env...))
}

// editMounts appends: runtimes mount in the order that is written, and what a
// user mounts above one of ours must not hide it.
func editMounts(config object, e Edits) error {
	var mounts []object
	if err := config.get("mounts", &mounts); err != nil {
		return err
	}
	ours := map[string]bool{}
	for _, m := range e.Mounts {
		ours[m.Target] = true
	}
	mounts = slices.DeleteFunc(mounts, func(m object) bool {
		var target string
		return m.get("destination", &target) == nil && ours[target]
	})
	for _, m := range e.Mounts {
		mount := object{}
		for key, value := range map[string]any{
			"type": "bind", "source": m.Source, "destination": m.Target, "options": []string{"bind", "ro", "nosuid", "nodev"},
		} {
			if err := mount.set(key, value); err != nil {
				return err
			}
		}
		mounts = append(mounts, mount)
	}
	return config.set("mounts", mounts)
}

// editHooks appends, too: prestart hooks, by which Docker puts interfaces into
// the namespace, run before every createRuntime hook.
func editHooks(config object, e Edits) error {
	hooks := object{}
	if err := config.get("hooks", &hooks); err != nil {
		return err
	}
	if hooks == nil { // null
		hooks = object{}
	}
	for _, h := range []struct {
		when string
		hook Hook
	}{{"createRuntime", e.Attach}, {"poststop", e.Detach}} {
		var list []json.RawMessage
		if err := hooks.get(h.when, &list); err != nil {
			return err
		}
		list = slices.DeleteFunc(list, h.hook.same)
		data, err := json.Marshal(h.hook)
		if err != nil {
			return fmt.Errorf("encode hook: %w", err)
		}
		if err := hooks.set(h.when, append(list, data)); err != nil {
			return err
		}
	}
	return config.set("hooks", hooks)
}

// same tells whether an entry of a list is this hook, of an edit before.
func (h Hook) same(entry json.RawMessage) bool {
	var other Hook
	return json.Unmarshal(entry, &other) == nil && other.Path == h.Path && slices.Equal(other.Args, h.Args)
}
