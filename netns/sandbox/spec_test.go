// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSpecRefused(t *testing.T) {
	valid := func() Spec {
		return Spec{User: User{UID: 1000, GID: 1000, Home: "/home/u"}, Dir: "/home/u/work", Forward: []uint16{8080}, Permit: []string{PermitPtrace}}
	}
	if s := valid(); s.check() != nil {
		t.Fatal(s.check())
	}
	for name, c := range map[string]struct {
		change func(*Spec)
		want   error
	}{
		"root":             {func(s *Spec) { s.User.UID = 0 }, unix.EPERM},
		"no user":          {func(s *Spec) { s.User.UID = -1 }, unix.EPERM},
		"no group":         {func(s *Spec) { s.User.GID = -1 }, unix.EPERM},
		"home mode":        {func(s *Spec) { s.HomeMode = "writable" }, unix.EINVAL},
		"permit":           {func(s *Spec) { s.Permit = []string{"ptrace "} }, unix.EINVAL},
		"port 0":           {func(s *Spec) { s.Forward = []uint16{0} }, unix.EADDRINUSE},
		"listener's port":  {func(s *Spec) { s.Forward = []uint16{ListenerPort} }, unix.EADDRINUSE},
		"port twice":       {func(s *Spec) { s.Forward = []uint16{1, 2, 1} }, unix.EADDRINUSE},
		"ports":            {func(s *Spec) { s.Forward = make([]uint16, forwardLimit+1) }, unix.E2BIG},
		"relative folder":  {func(s *Spec) { s.Dir = "work" }, unix.EINVAL},
		"no folder":        {func(s *Spec) { s.Dir = "" }, unix.EINVAL},
		"relative write":   {func(s *Spec) { s.Write = []string{"."} }, unix.EINVAL},
		"relative hide":    {func(s *Spec) { s.Hide = []string{"~/.ssh"} }, unix.EINVAL},
		"relative exposed": {func(s *Spec) { s.Expose = []string{""} }, unix.EINVAL},
	} {
		t.Run(name, func(t *testing.T) {
			s := valid()
			c.change(&s)
			if err := s.check(); !errors.Is(err, c.want) {
				t.Errorf("check: %v, want %v", err, c.want)
			}
		})
	}
}

func TestBirths(t *testing.T) {
	s := Spec{IPv6: true, Forward: make([]uint16, forwardLimit)}
	if n := len(births(ListenSpec{Forward: s.Forward}, s.IPv6)); n > fdLimit {
		t.Errorf("%d sockets do not fit into one message of %d", n, fdLimit)
	}
	s = Spec{Forward: []uint16{8080}}
	for _, b := range births(ListenSpec{Forward: s.Forward}, s.IPv6) {
		if b.role.IPv6 {
			t.Errorf("%s without IPv6", b.role)
		}
	}
}

func TestStageNames(t *testing.T) {
	last := StageListen
	for _, s := range steps() {
		if s.stage < last || s.stage.String() == fmt.Sprintf("stage(%d)", s.stage) {
			t.Errorf("stage %d, %s, after %d", s.stage, s.stage, last)
		}
		last = s.stage
	}
	if len(stageNames) != int(last)+1 {
		t.Errorf("%d names for %d stages", len(stageNames), last+1)
	}
}

func TestStageError(t *testing.T) {
	cause := fmt.Errorf("bind %q: %w", "/usr", unix.EACCES)
	for name, c := range map[string]struct {
		err  error
		is   []error
		isnt []error
		text string
	}{
		"mount":      {stageError(StageMount, cause), []error{unix.EACCES}, []error{ErrNotExecutable, ErrNotFound}, `mount: bind "/usr": permission denied`},
		"exec":       {stageError(StageExec, cause), []error{unix.EACCES, ErrNotExecutable}, []error{ErrNotFound}, `exec: bind "/usr": permission denied`},
		"not found":  {stageError(StageExec, unix.ENOENT), []error{ErrNotFound}, []error{ErrNotExecutable}, "exec: no such file or directory"},
		"too long":   {stageError(StageExec, unix.E2BIG), []error{unix.E2BIG}, []error{ErrNotFound, ErrNotExecutable}, "exec: argument list too long"},
		"no errno":   {stageError(StageTrust, errors.New("no certificate")), nil, []error{syscall.Errno(0)}, "trust: no certificate"},
		"once alone": {stageError(StageExec, stageError(StageMount, cause)), []error{unix.EACCES}, []error{ErrNotExecutable}, `mount: bind "/usr": permission denied`},
	} {
		t.Run(name, func(t *testing.T) {
			if c.err.Error() != c.text {
				t.Errorf("error is %q, want %q", c.err, c.text)
			}
			is := func(target error) bool { return errors.Is(c.err, target) }
			if slices.ContainsFunc(c.is, func(e error) bool { return !is(e) }) || slices.ContainsFunc(c.isnt, is) {
				t.Errorf("%v: is %v, is not %v", c.err, c.is, c.isnt)
			}
		})
	}
}

func TestWritableRefused(t *testing.T) {
	v := &view{home: &source{path: "/data/home/u"}}
	for name, allowed := range map[string]bool{
		"/":                      false,
		"/usr":                   false,
		"/usr/local/src/project": false,
		"/etc":                   false,
		"/tmp":                   false,
		"/home":                  false,
		"/run/user/1000/x":       false,
		"/data":                  false, // holds the home folder
		"/data/home":             false,
		"/data/home/u/project":   true,
		"/data/home/u2":          true,
		"/data/project":          true,
		"/tmp/project":           true,
		"/srv/project":           true,
		"/usrx":                  true,
	} {
		if err := v.refuse(name); (err == nil) != allowed {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPathOfEnvironment(t *testing.T) {
	for _, c := range []struct {
		env  []string
		want string
	}{
		{nil, defaultPath},
		{[]string{"XPATH=/x", "PATH=/a"}, "/a"},
		{[]string{"PATH=/a", "PATH=/b"}, "/b"},
		{[]string{"PATH="}, ""},
	} {
		p := &pid1{launch: Launch{Env: c.env}}
		if got := p.path(); got != c.want {
			t.Errorf("%q: %q, want %q", c.env, got, c.want)
		}
	}
}
