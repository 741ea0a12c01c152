// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns/sandbox"
	"github.com/phantom-ns/phantom-ns/proxy/mask"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// maskDeadline bounds looking for credential files and copying them. A home
// folder that does not answer in time ends the start: nothing is shown that
// was not looked at.
const maskDeadline = 10 * time.Second

// masking is the helper at work; nil where there is nothing to mask.
type masking struct {
	request *os.File
	reply   *os.File
	logins  []mask.Login // found, once the helper has answered
}

// looked is what lookForCredentials found.
type looked struct {
	any bool
	err error
}

// lookForCredentials asks, as the agent's user, whether there is a credential
// file at all: a session without any has no use for a helper.
func (s *Session) lookForCredentials() <-chan looked {
	found := make(chan looked, 2)
	asked := asUser(s.config.User, func() {
		paths := policy.KnownFilePaths()
		for _, d := range s.declaredFiles() {
			paths = append(paths, d.Path)
		}
		found <- looked{any: slices.ContainsFunc(s.absolute(paths), isThere)}
	})
	done := make(chan looked, 1)
	go func() {
		select {
		case <-asked.done:
			if asked.err != nil {
				found <- looked{err: asked.err}
			}
			done <- <-found
		case <-time.After(maskDeadline):
			done <- looked{err: fmt.Errorf("look for credential files: no answer within %s", maskDeadline)}
		}
	}()
	return done
}

// isThere is true also for what cannot be told: the helper will see.
func isThere(name string) bool {
	var st unix.Stat_t
	err := unix.Lstat(name, &st)
	return err != unix.ENOENT && err != unix.ENOTDIR
}

// declaredFiles are the files that the policy names.
func (s *Session) declaredFiles() []mask.Declared {
	if s.config.Policy == nil {
		return nil
	}
	var all []mask.Declared
	for _, c := range s.config.Policy.Credentials {
		for _, f := range c.Files {
			field, _ := policy.ParseField(f.Field) // checked by the policy
			all = append(all, mask.Declared{
				Path: s.absolute([]string{f.Path})[0], Format: f.Format, Field: field, Credential: c.Name,
			})
		}
	}
	return all
}

// startMasking starts the helper, which reads while the credentials are
// fetched. It has the ids of the agent's user: what it cannot read the agent
// could not have read either.
func (s *Session) startMasking(group *cgroup, looking <-chan looked) error {
	seen := <-looking
	if seen.err != nil || !seen.any {
		return seen.err
	}
	var ends pipeEnds
	defer func() { ends.closeTheirs() }()
	m := &masking{request: ends.toChild(), reply: ends.fromChild()}
	if ends.err != nil {
		return fmt.Errorf("mask credential files: %w", ends.err)
	}
	s.undo.push(func() error { m.request.Close(); m.reply.Close(); return nil })
	cmd := s.stageCommand(mask.Stage, group, ends.theirs...)
	u := s.config.User
	groups := []uint32{}
	for _, g := range dropPrivilegedGroups(u.Groups) {
		groups = append(groups, uint32(g))
	}
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(u.UID), Gid: uint32(u.GID), Groups: groups}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("mask credential files: start helper: %w", err)
	}
	go cmd.Wait() // reaped here; its answer is what counts
	s.masking = m
	return mask.Send(m.request, mask.Request{Home: u.Home, Declared: s.declaredFiles()})
}

// tellMasking hands the helper what may stand in the copies.
func (s *Session) tellMasking(spec *policy.Session) error {
	if s.masking == nil {
		return nil
	}
	// Ignored where the pipes take no deadline: a helper that has ended is seen.
	_ = s.masking.request.SetWriteDeadline(time.Now().Add(maskDeadline))
	_ = s.masking.reply.SetReadDeadline(time.Now().Add(maskDeadline))
	known := slices.Clone(spec.Credentials)
	for _, c := range spec.Credentials {
		known = append(known, policy.LoginCredentials(c)...)
	}
	return mask.Send(s.masking.request, mask.Session{Credentials: known, Placeholders: s.placeholders})
}

// covers takes the copies in.
func (s *Session) covers() ([]sandbox.Cover, error) {
	if s.masking == nil {
		return nil, nil
	}
	reply, err := mask.ReadReply(s.masking.reply)
	if err != nil {
		return nil, err
	}
	for _, warning := range reply.Warnings {
		s.config.Notify(strings.Map(printable, warning))
	}
	s.masking.logins = reply.Logins
	written := s.realPaths(s.around.state)
	var all []sandbox.Cover
	for _, c := range reply.Covers {
		cover := sandbox.Cover{Path: c.Path, UID: int(c.UID), GID: int(c.GID), Mode: c.Mode, Content: c.Content, Folder: c.Folder}
		for _, f := range c.Files {
			cover.Files = append(cover.Files, sandbox.CoverFile{Name: f.Name, UID: int(f.UID), GID: int(f.GID), Mode: f.Mode, Content: f.Content})
		}
		all = append(all, cover)
		if isBelow(c.Path, written) {
			s.config.Notify(fmt.Sprintf("%q holds credentials: the agent has a copy, and what it writes there is discarded", c.Path))
		}
	}
	return all, nil
}

// covered are the places of the host's that the agent does not see, without
// links: those that it has copies of, and those that the policy hides. What the
// policy exposes it sees.
func (s *Session) covered(spec *policy.Session, covers []sandbox.Cover) []string {
	var all []string
	for _, c := range covers {
		all = append(all, c.Path)
	}
	for _, name := range s.absolute(spec.Filesystem.Hide) {
		name = withoutLinks(name)
		if _, err := os.Lstat(name); err == nil { // what is not there, init does not hide
			all = append(all, name)
		}
	}
	exposed := s.absolute(spec.Filesystem.Expose)
	return slices.DeleteFunc(all, func(name string) bool { return isBelow(name, exposed) })
}
