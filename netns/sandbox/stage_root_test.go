// SPDX-License-Identifier: Apache-2.0

//go:build root

package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// O2: whichever stage fails, the supervisor is told and the agent never runs.
func TestO2StageFails(t *testing.T) {
	for _, s := range steps() {
		t.Run(s.stage.String(), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.config.Executable = breakAt(t, s.stage)
			err := r.start("sh", "-c", "echo ran > ran")
			var got *StageError
			if !errors.As(err, &got) {
				t.Fatalf("start: %v", err)
			}
			if want := "break " + s.stage.String() + ": input/output error"; got.Stage != s.stage || got.Errno != unix.EIO || got.Text != want {
				t.Errorf("start: %+v", got)
			}
			if _, err := r.child.Wait(); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(filepath.Join(r.dir, "ran")); !errors.Is(err, os.ErrNotExist) {
				t.Error("the agent ran")
			}
		})
	}
}

// breakAt is the test binary under a name that makes init fail.
func breakAt(t *testing.T, stage Stage) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "init-at-"+stage.String())
	must(t, os.Link(self(t), name))
	return name
}

// A system call of init's that fails in truth, seen from the supervisor.
func TestStageFailsInTruth(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*rig)
		stage  Stage
		errno  error
	}{
		"descriptor is a folder": {func(r *rig) { r.config.Stdin = r.config.Cgroup }, StageStart, unix.EISDIR},
		"root":                   {func(r *rig) { r.config.Spec.User.UID = 0 }, StageStart, unix.EPERM},
		"no executable":          {func(r *rig) { r.config.Executable = "/no/such" }, StageStart, unix.ENOENT},
		"unknown permit":         {func(r *rig) { r.config.Spec.Permit = []string{"everything"} }, StageStart, unix.EINVAL},
		"forward of the stub":    {func(r *rig) { r.config.Spec.Forward = []uint16{53} }, StageStart, unix.EADDRINUSE},
		"no folder":              {func(r *rig) { r.config.Spec.Dir = "/no/such" }, StageMount, unix.ENOENT},
		"folder is a file":       {func(r *rig) { r.config.Spec.Dir = "/etc/passwd" }, StageMount, unix.ENOTDIR},
		"folder is the root":     {func(r *rig) { r.config.Spec.Dir = "/" }, StageMount, unix.EPERM},
		"folder is the system's": {func(r *rig) { r.config.Spec.Dir = "/usr/share" }, StageMount, unix.EPERM},
		"folder holds home":      {func(r *rig) { r.config.Spec.User.Home = r.dir; r.config.Spec.Dir = r.home }, StageMount, unix.EPERM},
		"writes the system's":    {func(r *rig) { r.config.Spec.Write = []string{"/etc"} }, StageMount, unix.EPERM},
		"writes home":            {func(r *rig) { r.config.Spec.Write = []string{r.home} }, StageMount, unix.EPERM},
		"exposes our own": {func(r *rig) {
			r.config.Spec.Expose = []string{"/var/lib"}
			must(r.t, os.MkdirAll("/var/lib/phantom-ns", 0o700))
		}, StageMount, unix.EPERM},
		"folder of root's": {func(r *rig) { must(r.t, errors.Join(os.Chown(r.dir, 0, 0), os.Chmod(r.dir, 0o700))) }, StagePrivileges, unix.EACCES},
		"no certificate":   {func(r *rig) { r.launch.CA = nil }, StageTrust, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			c.change(r)
			err := r.start("sh", "-c", "echo ran")
			var got *StageError
			if !errors.As(err, &got) || got.Stage != c.stage || c.errno != nil && !errors.Is(err, c.errno) {
				t.Errorf("start: %v, want stage %v, %v", err, c.stage, c.errno)
			}
			if text := r.output.end(); text != "" {
				t.Errorf("wrote %q", text)
			}
		})
	}
}

// Init is killed before it could say anything.
func TestInitDies(t *testing.T) {
	r := newRig(t)
	var err error
	r.child, err = Start(t.Context(), r.config)
	must(t, err)
	defer r.child.Close()
	must(t, r.child.Signal(unix.SIGKILL))
	if l, err := r.child.Listeners(); err == nil { // it may have been faster
		must(t, l.Close())
	}
	var stage *StageError
	if err := r.child.Launch(r.launch); !errors.As(err, &stage) || stage.Text != "init ended: killed" {
		t.Errorf("launch: %v", err)
	}
}
