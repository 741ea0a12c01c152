// SPDX-License-Identifier: Apache-2.0

//go:build root

package bpf

import (
	"testing"

	"github.com/cilium/ebpf/features"
)

// The documented minimum is the real one: from 6.1 the full object loads, and below it nobody gets it by accident.
func TestFullObjectFromItsKernelOn(t *testing.T) {
	const first = 6<<16 | 1<<8
	version, err := features.LinuxVersionCode()
	require(t, err)
	object, err := Load(Options{})
	require(t, err)
	defer object.Close()
	if want := version < first; object.Legacy() != want {
		t.Errorf("kernel %d.%d: legacy %v, want %v", version>>16, version>>8&0xff, object.Legacy(), want)
	}
}

// The legacy object can be had on any kernel, so that it can be tried where it is not needed.
func TestLegacyObjectEverywhere(t *testing.T) {
	object, err := Load(Options{Legacy: true})
	require(t, err)
	defer object.Close()
	if !object.Legacy() {
		t.Error("the full object was loaded")
	}
}
