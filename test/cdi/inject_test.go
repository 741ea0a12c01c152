// SPDX-License-Identifier: Apache-2.0

package cdi

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	oci "github.com/opencontainers/runtime-spec/specs-go"
	library "tags.cncf.io/container-device-interface/pkg/cdi"

	"github.com/phantom-ns/phantom-ns/enforcer/node/cdi"
	"github.com/phantom-ns/phantom-ns/netns/sandbox/trust"
	"github.com/phantom-ns/phantom-ns/proxy/ca"
)

func policy(t *testing.T, name string, env ...string) cdi.Policy {
	t.Helper()
	authority, err := ca.New(ca.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return cdi.Policy{Name: name, Env: env, CA: authority.PEM()}
}

// written returns a layout with two policies, one of whose names begins with a
// digit, beside a specification of another vendor.
func written(t *testing.T) (cdi.Layout, *library.Cache) {
	t.Helper()
	dir := t.TempDir()
	layout := cdi.Layout{Specs: filepath.Join(dir, "cdi"), Shared: filepath.Join(dir, "shared"), Root: t.TempDir()}
	if err := layout.Write([]cdi.Policy{policy(t, "a", "KEY=placeholder-a"), policy(t, "1-b")}); err != nil {
		t.Fatal(err)
	}
	other := `{"cdiVersion":"0.5.0","kind":"example.org/device","devices":[{"name":"d","containerEdits":{"env":["A=b"]}}]}`
	if err := os.WriteFile(filepath.Join(layout.Specs, "other.json"), []byte(other), 0o644); err != nil {
		t.Fatal(err)
	}
	cache, err := library.NewCache(library.WithSpecDirs(layout.Specs), library.WithAutoRefresh(false))
	if err != nil {
		t.Fatal(err)
	}
	return layout, cache
}

func TestLibraryReadsTheDevices(t *testing.T) {
	_, cache := written(t)
	if errs := cache.GetErrors(); len(errs) > 0 {
		t.Errorf("the library says %v", errs)
	}
	want := []string{"example.org/device=d", cdi.Kind + "=1-b", cdi.Kind + "=a"}
	if got := cache.ListDevices(); !slices.Equal(got, want) {
		t.Errorf("devices %q, want %q", got, want)
	}
}

// The version that is written is the oldest that the content is valid in.
func TestVersionIsTheOldestThatWillDo(t *testing.T) {
	_, cache := written(t)
	spec := cache.GetDevice(cdi.Kind + "=a").GetSpec()
	oldest, err := library.MinimumRequiredVersion(spec.Spec)
	if err != nil {
		t.Fatal(err)
	}
	if spec.Version != oldest {
		t.Errorf("version %s, %s would do", spec.Version, oldest)
	}
}

func TestDeviceIsInjected(t *testing.T) {
	layout, cache := written(t)
	container := &oci.Spec{
		Process: &oci.Process{Env: []string{"PATH=/bin", "KEY=of-the-image"}},
		Mounts:  []oci.Mount{{Destination: trust.Dir, Source: "/theirs"}, {Destination: "/proc", Type: "proc"}},
	}
	unknown, err := cache.InjectDevices(container, cdi.Kind+"=a")
	if err != nil || len(unknown) > 0 {
		t.Fatalf("%v, unknown %q", err, unknown)
	}
	var keys []string
	for _, v := range container.Process.Env {
		if strings.HasPrefix(v, "KEY=") {
			keys = append(keys, v)
		}
	}
	// The library leaves the image's; runc and crun give a program the last.
	if len(keys) == 0 || keys[len(keys)-1] != "KEY=placeholder-a" || !slices.Contains(container.Process.Env, "SSL_CERT_FILE="+trust.BundlePath) {
		t.Errorf("environment %q", container.Process.Env)
	}
	for _, m := range layout.Mounts("a") {
		at := slices.IndexFunc(container.Mounts, func(c oci.Mount) bool { return c.Destination == m.Target })
		if at < 0 || container.Mounts[at].Source != m.Source || !slices.Contains(container.Mounts[at].Options, "ro") {
			t.Errorf("%s is not mounted of %s", m.Target, m.Source)
		}
	}
	if n := len(container.Mounts); n != len(layout.Mounts("a"))+1 {
		t.Errorf("%d mounts", n)
	}
}
