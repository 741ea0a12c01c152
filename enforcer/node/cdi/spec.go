// SPDX-License-Identifier: Apache-2.0

package cdi

import (
	"encoding/json"
	"fmt"

	specs "tags.cncf.io/container-device-interface/specs-go"
)

// specVersion is the oldest that has what is used here: 0.5.0 lets the name of
// a device begin with a digit. podman reads it since 4.3, containerd since 1.7.
const specVersion = "0.5.0"

// options of every mount. No noexec: clients map their roots privately at most,
// and gVisor refuses options that it does not know.
func options() []string { return []string{"bind", "ro", "nosuid", "nodev"} }

// specification describes one device for each policy.
func (l Layout) specification(policies []Policy) ([]byte, error) {
	spec := specs.Spec{Version: specVersion, Kind: Kind, Devices: []specs.Device{}}
	for _, p := range policies {
		edits := specs.ContainerEdits{Env: p.environment()}
		for _, m := range l.Mounts(p.Name) {
			edits.Mounts = append(edits.Mounts, &specs.Mount{HostPath: m.Source, ContainerPath: m.Target, Options: options()})
		}
		spec.Devices = append(spec.Devices, specs.Device{Name: p.Name, ContainerEdits: edits})
	}
	data, err := json.MarshalIndent(spec, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write specification: %w", err)
	}
	return append(data, '\n'), nil
}
