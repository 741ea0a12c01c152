// SPDX-License-Identifier: Apache-2.0

package cdi

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	specs "tags.cncf.io/container-device-interface/specs-go"

	"github.com/phantom-ns/phantom-ns/netns/sandbox/trust"
	"github.com/phantom-ns/phantom-ns/proxy/ca"
)

type world struct {
	*testing.T
	Layout
}

func newWorld(t *testing.T) world {
	dir := t.TempDir()
	return world{t, Layout{Specs: filepath.Join(dir, "etc/cdi"), Shared: filepath.Join(dir, "shared"), Root: t.TempDir()}}
}

func (w world) policy(name string, env ...string) Policy {
	w.Helper()
	authority, err := ca.New(ca.Options{})
	w.check(err)
	return Policy{Name: name, Env: env, CA: authority.PEM()}
}

func (w world) check(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w world) write(policies ...Policy) {
	w.Helper()
	w.check(w.Write(policies))
}

func (w world) read(path string) string {
	w.Helper()
	data, err := os.ReadFile(path)
	w.check(err)
	return string(data)
}

func (w world) spec() specs.Spec {
	w.Helper()
	var s specs.Spec
	w.check(json.Unmarshal([]byte(w.read(filepath.Join(w.Specs, specFile))), &s))
	return s
}

func (w world) devices() []string {
	var names []string
	for _, d := range w.spec().Devices {
		names = append(names, d.Name)
	}
	return names
}

func TestDeviceCarriesPlaceholdersAndTrust(t *testing.T) {
	w := newWorld(t)
	p := w.policy("0coder", "OPENAI_API_KEY=sk-placeholder")
	w.write(p)
	s := w.spec()
	if s.Version != "0.5.0" || s.Kind != "phantom-ns.dev/policy" || !slices.Equal(w.devices(), []string{"0coder"}) {
		t.Fatalf("specification %+v", s)
	}
	edits := s.Devices[0].ContainerEdits
	if want := append([]string{"OPENAI_API_KEY=sk-placeholder"}, trust.Env()...); !slices.Equal(edits.Env, want) {
		t.Errorf("environment %q, want %q", edits.Env, want)
	}
	if first := edits.Mounts[0]; first.HostPath != filepath.Join(w.Shared, "0coder") || first.ContainerPath != trust.Dir {
		t.Errorf("first mount %+v is not the folder that the variables name", first)
	}
	seen := map[string]bool{}
	for _, m := range edits.Mounts {
		if _, err := os.Stat(m.HostPath); err != nil || seen[m.ContainerPath] || !slices.Contains(m.Options, "ro") {
			t.Errorf("mount %+v: %v", *m, err)
		}
		seen[m.ContainerPath] = true
	}
}

func TestVariablesNameFilesOfTheFolder(t *testing.T) {
	w := newWorld(t)
	p := w.policy("a")
	w.write(p)
	for _, path := range []string{trust.CAPath, trust.BundlePath} {
		name, ok := strings.CutPrefix(path, trust.Dir+"/")
		if !ok || w.read(filepath.Join(w.Shared, "a", name)) != string(p.CA) {
			t.Errorf("%s is not a file of the folder with the authority", path)
		}
	}
}

func TestFilesAreForEverybodyToRead(t *testing.T) {
	w := newWorld(t)
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	w.write(w.policy("a"))
	for _, root := range []string{w.Specs, w.Shared} {
		err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			w.check(err)
			info, err := e.Info()
			w.check(err)
			if want := map[bool]fs.FileMode{true: 0o755, false: 0o644}[e.IsDir()]; info.Mode().Perm() != want {
				t.Errorf("%s has mode %v", path, info.Mode())
			}
			return nil
		})
		w.check(err)
	}
	if info, err := os.Stat(filepath.Dir(w.Specs)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder above: %v, %v", info.Mode(), err)
	}
}

func TestRemovedPolicyLosesDeviceAndFolder(t *testing.T) {
	w := newWorld(t)
	a, b := w.policy("a"), w.policy("b")
	w.write(a, b)
	w.write(b)
	if got := w.devices(); !slices.Equal(got, []string{"b"}) {
		t.Errorf("devices %q", got)
	}
	if _, err := os.Stat(filepath.Join(w.Shared, "a")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("folder of a: %v", err)
	}
	w.write()
	if _, err := os.Stat(filepath.Join(w.Specs, specFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("specification without devices: %v", err)
	}
	w.write()
}

func TestOthersSpecificationsStay(t *testing.T) {
	w := newWorld(t)
	w.write(w.policy("a"))
	other := filepath.Join(w.Specs, "nvidia.yaml")
	w.check(os.WriteFile(other, []byte("theirs"), 0o600))
	w.write(w.policy("b"))
	w.write()
	if got := w.read(other); got != "theirs" {
		t.Errorf("other file holds %q", got)
	}
}

// A bind mount keeps the file it was made of: one that is written anew without
// need would leave running containers with another one.
func TestUnchangedFilesAreNotReplaced(t *testing.T) {
	w := newWorld(t)
	a := w.policy("a", "KEY=one")
	w.write(a)
	inodes := func() map[string]uint64 {
		list := map[string]uint64{}
		for _, m := range append(w.Mounts("a"), w.Resolver("a")) {
			var st unix.Stat_t
			w.check(unix.Stat(m.Source, &st))
			list[m.Source] = st.Ino
		}
		return list
	}
	before := inodes()
	w.write(a, w.policy("b"))
	a.Env = []string{"KEY=two"}
	w.write(a)
	for path, inode := range inodes() {
		if before[path] != inode {
			t.Errorf("%s was replaced", path)
		}
	}
	if got := w.spec().Devices[0].ContainerEdits.Env[0]; got != "KEY=two" {
		t.Errorf("the device says %q", got)
	}
}

func TestLeftoverOfACrashIsWrittenOver(t *testing.T) {
	w := newWorld(t)
	w.check(os.MkdirAll(w.Specs, 0o755))
	w.check(os.WriteFile(filepath.Join(w.Specs, "."+specFile+".new"), []byte(strings.Repeat("x", 1<<20)), 0o600))
	w.write(w.policy("a"))
	entries, err := os.ReadDir(w.Specs)
	w.check(err)
	if len(entries) != 1 || !slices.Equal(w.devices(), []string{"a"}) {
		t.Errorf("folder holds %v", entries)
	}
}

// One container is not to keep trust of its policy from being written anew.
func TestAFolderInTheWayIsRemoved(t *testing.T) {
	w := newWorld(t)
	w.write(w.policy("a"))
	w.check(os.Mkdir(filepath.Join(w.Shared, "a", "."+caFile+".new"), 0o755))
	p := w.policy("a")
	w.write(p)
	if got := w.read(filepath.Join(w.Shared, "a", caFile)); got != string(p.CA) {
		t.Errorf("the authority is still %q", got)
	}
}

func TestWriteRefusesWhole(t *testing.T) {
	w := newWorld(t)
	good := w.policy("good")
	w.write(good)
	for name, bad := range map[string]Policy{
		"path":        {Name: "../up", CA: good.CA},
		"empty":       {CA: good.CA},
		"twice":       good,
		"newline":     {Name: "x", Env: []string{"A=b\nC=d"}, CA: good.CA},
		"no name":     {Name: "x", Env: []string{"=b"}, CA: good.CA},
		"no value":    {Name: "x", Env: []string{"b"}, CA: good.CA},
		"no CA":       {Name: "x"},
		"two of them": {Name: "x", CA: append(slices.Clone(good.CA), good.CA...)},
	} {
		if err := w.Write([]Policy{good, bad}); err == nil {
			t.Errorf("%s: written", name)
		}
		if err := bad.Check(); (err == nil) != (name == "twice") {
			t.Errorf("%s: check says %v", name, err)
		}
		if got := w.devices(); !slices.Equal(got, []string{"good"}) {
			t.Errorf("%s: devices %q", name, got)
		}
	}
}

func TestFlagsSayWhatTheDeviceDoes(t *testing.T) {
	w := newWorld(t)
	w.write(w.policy("a", "KEY=value"))
	folder := filepath.Join(w.Shared, "a")
	for runtime, want := range map[string][]string{
		"docker": {"--env-file", folder + "/env", "--mount", "type=bind,source=" + folder + ",target=/run/phantom-ns,readonly"},
		"podman": {"--env-file", folder + "/env", "--mount", "type=bind,source=" + folder + ",target=/run/phantom-ns,ro=true"},
		"ctr":    {"--env-file", folder + "/env", "--mount", "type=bind,src=" + folder + ",dst=/run/phantom-ns,options=rbind:ro"},
	} {
		got, err := w.Flags(runtime, "a")
		w.check(err)
		if !slices.Equal(got[:4], want) {
			t.Errorf("%s: %q", runtime, got[:4])
		}
		if mounts := (len(got) - 2) / 2; mounts != len(w.Mounts("a")) {
			t.Errorf("%s: %d mounts", runtime, mounts)
		}
		if strings.ContainsAny(strings.Join(got, ""), " \t\n'\"$") {
			t.Errorf("%s: a shell would read %q otherwise", runtime, got)
		}
	}
	if env := w.read(folder + "/env"); !strings.HasPrefix(env, "KEY=value\nSSL_CERT_FILE=") {
		t.Errorf("environment file begins %.60q", env)
	}
	if _, err := w.Flags("docker", "b"); !errors.Is(err, ErrNoPolicy) {
		t.Errorf("unknown policy: %v", err)
	}
	for _, bad := range [][2]string{{"rkt", "a"}, {"docker", "../a"}} {
		if flags, err := w.Flags(bad[0], bad[1]); err == nil {
			t.Errorf("%v: %q", bad, flags)
		}
	}
}

func TestRootsOfTheNodeAreMerged(t *testing.T) {
	w := newWorld(t)
	p := w.policy("a")
	files, err := trust.NewFiles([]byte("# roots"), p.CA)
	w.check(err)
	if string(files.Bundle) != "# roots\n"+string(p.CA) || string(files.CA) != string(p.CA) {
		t.Errorf("bundle %.40q", files.Bundle)
	}
	again, err := trust.NewFiles([]byte("# roots"), p.CA)
	w.check(err)
	if string(again.Java) != string(files.Java) || !strings.HasPrefix(string(files.Java), "\xfe\xed\xfe\xed") {
		t.Error("the Java store is not the same when it is made again")
	}
}
