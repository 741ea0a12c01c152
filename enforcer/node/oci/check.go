// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"errors"
	"fmt"
	"slices"
)

// Why a container is refused.
var (
	ErrHostNetwork = errors.New("the container has the host's network")
	ErrProcesses   = errors.New("the container sees processes of the host or of another container")
	ErrMounts      = errors.New("the container has the host's mounts")
	ErrDevices     = errors.New("the container is given network devices of the host, whenever its runtime moves them")
	ErrCapability  = errors.New("the container has a capability that reaches past its fence")
)

// Capabilities that no fence of a network namespace holds, unless a user
// namespace makes them good for nothing outside.
var unheld = []string{
	"CAP_SYS_ADMIN",       // joins the host's namespaces, loads and detaches programs
	"CAP_BPF",             // reads and writes the maps of the redirect
	"CAP_SYS_MODULE",      // is the kernel
	"CAP_SYS_RAWIO",       // reads and writes memory of the kernel
	"CAP_DAC_READ_SEARCH", // opens the host's files by handle: open_by_handle_at(2)
	"CAP_SYS_BOOT",        // kexec_load(2)
	"CAP_PERFMON",         // samples registers and stacks of every process: perf_event_open(2)
	// A link whose other end is on the host says by which number that end's
	// namespace goes (IFLA_LINK_NETNSID); links are made, moved and deleted there
	// by it, with this capability in the host's user namespace (rtnetlink.c).
	"CAP_NET_ADMIN",
}

// Unheld lists them as the kernel's headers write them: CAP_SYS_ADMIN.
func Unheld() []string { return slices.Clone(unheld) }

type namespace struct {
	Type string `json:"type"`
	Path string `json:"path"`
}

// check refuses what a session could not hold.
func check(config object) error {
	linux := object{}
	if err := config.get("linux", &linux); err != nil {
		return err
	}
	var namespaces []namespace
	if err := linux.get("namespaces", &namespaces); err != nil {
		return err
	}
	find := func(kind string) (namespace, bool) {
		at := slices.IndexFunc(namespaces, func(n namespace) bool { return n.Type == kind })
		if at < 0 {
			return namespace{}, false
		}
		return namespaces[at], true
	}
	// A network namespace may have a path: what is there the daemon judges.
	if _, own := find("network"); !own {
		return ErrHostNetwork
	}
	if pid, own := find("pid"); !own || pid.Path != "" {
		return ErrProcesses
	}
	if mount, own := find("mount"); !own || mount.Path != "" {
		return ErrMounts
	}
	if err := checkDevices(linux); err != nil {
		return err
	}
	if user, own := find("user"); own && user.Path == "" {
		return nil
	}
	process := object{}
	if err := config.get("process", &process); err != nil {
		return err
	}
	return checkCapabilities(process)
}

// checkDevices refuses what OCI 1.3 calls netDevices: such a link has no end on
// the host, and may come when the namespace was looked at.
func checkDevices(linux object) error {
	var devices object
	if err := linux.get("netDevices", &devices); err != nil {
		return err
	}
	if len(devices) > 0 {
		return ErrDevices
	}
	return nil
}

func checkCapabilities(process object) error {
	var sets map[string][]string
	if err := process.get("capabilities", &sets); err != nil {
		return err
	}
	for _, set := range sets {
		for _, c := range unheld {
			if slices.Contains(set, c) {
				return fmt.Errorf("%s: %w", c, ErrCapability)
			}
		}
	}
	return nil
}
