// SPDX-License-Identifier: Apache-2.0

//go:build root

package bpf

import (
	"errors"
	"fmt"
	"slices"
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

// TestFeaturesSinceTheirKernel prints what this kernel has of each table, for the rig, and fails where something is
// missing that the table promises for it. A kernel may have more than its version says: distributions port back.
func TestFeaturesSinceTheirKernel(t *testing.T) {
	version, err := features.LinuxVersionCode()
	require(t, err)
	for _, feature := range slices.Concat(floorFeatures, steerFeatures, fullFeatures, fenceFeatures) {
		var major, minor uint32
		if _, err := fmt.Sscanf(feature.since, "%d.%d", &major, &minor); err != nil {
			t.Fatalf("%s: since %q: %v", feature.name, feature.since, err)
		}
		err := tell(feature)
		if err != nil && (!errors.Is(err, ErrNotSupported) || version >= major<<16|minor<<8) {
			t.Errorf("%s, since %s, on %d.%d: %v", feature.name, feature.since, version>>16, version>>8&0xff, err)
		}
	}
	for _, feature := range peerFeatures { // as the kernel was built, too
		if err := tell(feature); err != nil {
			t.Log(err)
		}
	}
}

// tell prints a line that test/rig/vagrant/table.sh reads.
func tell(f feature) error {
	err := f.probe()
	fmt.Printf("feature %t %s (%s)\n", err == nil, f.name, f.since)
	return err
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
