// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns/sandbox/trust"
)

// What init keeps in the session's own /run: root's, and for the agent to read
// where it is for the agent.
const (
	emptyFile = trust.Dir + "/empty"
	emptyDir  = trust.Dir + "/void"
	homeDir   = trust.Dir + "/home"   // of the overlay; closed
	coverDir  = trust.Dir + "/covers" // closed

	// GivenDir holds the files of Launch.Given.
	GivenDir = trust.Dir + "/given"
)

// runFolders are made in /run; one of the user's own follows.
var runFolders = []struct {
	path string
	mode uint32
}{
	{trust.Dir, 0o755}, {emptyDir, 0o555}, {homeDir, 0o700}, {homeDir + "/upper", 0o700}, {homeDir + "/work", 0o700},
	{coverDir, 0o700}, {GivenDir, 0o755},
	{"/run/lock", 0o1777}, {"/run/user", 0o755},
}

// kept are the links in /run by which NixOS finds its programs and drivers.
var kept = []string{"booted-system", "current-system", "opengl-driver", "opengl-driver-32"}

// runLinks reads those that the host has.
func runLinks() map[string]string {
	links := make(map[string]string)
	for _, name := range kept {
		if target, err := rootLink("/run", name); err == nil && target != "" {
			links[name] = target
		}
	}
	return links
}

// mountRun fills the new /run, which nobody else can reach yet.
func (p *pid1) mountRun(v *view) error {
	for _, f := range runFolders {
		if err := unix.Mkdir(f.path, f.mode); err != nil {
			return fmt.Errorf("make %s: %w", f.path, err)
		}
	}
	user := p.body.Spec.User
	own := "/run/user/" + strconv.Itoa(user.UID)
	if err := errors.Join(unix.Mkdir(own, 0o700), unix.Lchown(own, user.UID, user.GID)); err != nil {
		return fmt.Errorf("make %s: %w", own, err)
	}
	for name, target := range v.links {
		if err := unix.Symlink(target, "/run/"+name); err != nil {
			return fmt.Errorf("link /run/%s: %w", name, err)
		}
	}
	return os.WriteFile(emptyFile, nil, 0o444)
}

// writeGiven writes the session's own files for the agent.
func (p *pid1) writeGiven(*view) error {
	for _, f := range p.launch.Given {
		if err := os.WriteFile(GivenDir+"/"+path.Base(f.Name), f.Content, 0o444); err != nil {
			return fmt.Errorf("write %s: %w", f.Name, err)
		}
	}
	return nil
}

// place opens the spot of s to mount on. Where a filesystem of the session's
// own has covered it, it is made.
func (p *pid1) place(s source) (int, error) {
	fd, err := openExact(s.path)
	if !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	parent, err := p.folder(path.Dir(s.path))
	if err != nil {
		return -1, err
	}
	defer unix.Close(parent)
	if s.kind == unix.S_IFDIR {
		err = p.makeFolder(parent, path.Base(s.path))
	} else {
		err = p.makeFile(parent, path.Base(s.path))
	}
	if err != nil {
		return -1, err
	}
	return openExact(s.path)
}

// folder opens a folder and makes it, and those above, where they are covered.
func (p *pid1) folder(name string) (int, error) {
	fd, err := openExact(name)
	if !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	parent, err := p.folder(path.Dir(name))
	if err != nil {
		return -1, err
	}
	defer unix.Close(parent)
	if err := p.makeFolder(parent, path.Base(name)); err != nil {
		return -1, err
	}
	return openExact(name)
}

func (p *pid1) makeFolder(parent int, name string) error {
	if err := p.needCovered(parent); err != nil {
		return err
	}
	return unix.Mkdirat(parent, name, 0o755)
}

func (p *pid1) makeFile(parent int, name string) error {
	if err := p.needCovered(parent); err != nil {
		return err
	}
	return unix.Mknodat(parent, name, unix.S_IFREG|0o444, 0)
}

// needCovered refuses to make anything on the host.
func (p *pid1) needCovered(parent int) error {
	covered, err := p.own.covers(parent)
	if err == nil && !covered {
		err = unix.ENOENT
	}
	return err
}
