// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/mask"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// profileDeadline bounds what is read and made in the user's home before the
// session: a network file system that hangs costs this much and no more.
const profileDeadline = 5 * time.Second

// surroundings are what a profile finds and makes on the host before the
// session. Nothing of it stops a session: what fails is told, and missing.
type surroundings struct {
	state      []string   // folders and files that are there, absolute
	questions  []question // one for each registry
	registries []policy.Endpoint
	env        []string // the caller's variables that name registries
	told       []string // lines for the person at the terminal
}

func (a *surroundings) tell(format string, args ...any) {
	a.told = append(a.told, fmt.Sprintf(format, args...))
}

// prepareProfile reads and makes as the user: whatever links lead to, it is
// what the user could have read and made. Then it asks, with no rights at all.
func (s *Session) prepareProfile(group *cgroup) surroundings {
	p := s.config.Profile
	if p == nil {
		return surroundings{}
	}
	var found surroundings // not the result: after the deadline it is the thread's
	asked := asUser(s.config.User, func() { s.askHost(p, &found) })
	select {
	case <-asked.done:
		if asked.err != nil {
			found.tell("profile %s: %v", p.Name, asked.err)
		}
		s.askTools(group, found.questions)
		found.conclude(p)
		return found
	case <-time.After(profileDeadline):
		var late surroundings
		late.tell("profile %s: the home folder did not answer within %s: its state is not kept, and no registry is allowed", p.Name, profileDeadline)
		return late
	}
}

func (s *Session) askHost(p *policy.Profile, found *surroundings) {
	for _, dir := range s.absolute(p.State) {
		found.keep(p, dir, os.MkdirAll(dir, 0o700))
	}
	for _, f := range p.Files {
		name := s.absolute([]string{f.Path})[0]
		found.keep(p, name, makeFile(name, f.Content))
	}
	if s.config.Member {
		if p.Registry != nil {
			found.tell("no registry is known for %s: the policy has to name it", p.Name)
		}
		return
	}
	written := s.realPaths(found.state)
	for _, g := range p.Registries() {
		told := len(found.told)
		q := question{registry: g, settings: callerSettings(s.config.Caller)}
		for _, name := range g.Files {
			q.settings = append(q.settings, s.readSettings(name, written, found)...)
		}
		// What an agent could have written to, the tool would read as well.
		if len(found.told) == told && len(g.Ask) > 0 && g.Unsaid(q.settings) {
			s.lookAt(&q, written)
		}
		q.quiet = len(found.told) > told
		found.questions = append(found.questions, q)
		found.pass(g, s.config.Caller)
	}
}

// conclude turns settings and answers into the places that may be read from.
func (a *surroundings) conclude(p *policy.Profile) {
	for _, q := range a.questions {
		endpoints, problems := q.registry.Endpoints(append(q.settings, q.answer))
		a.registries = append(a.registries, endpoints...)
		for _, problem := range problems {
			a.tell("registry not allowed: %s", problem)
		}
		switch {
		case len(endpoints) > 0 || q.quiet || len(problems) > 0 || q.registry != p.Registry:
		case q.told != "":
			a.tell("%s", q.told)
		default:
			a.tell("no registry is known for %s: name it in %s, or with --allow HOST", p.Name, q.registry.Files[len(q.registry.Files)-1])
		}
	}
}

func (a *surroundings) keep(p *policy.Profile, name string, err error) {
	if err != nil {
		a.tell("profile %s: what is written to %q is discarded: %v", p.Name, name, err)
		return
	}
	a.state = append(a.state, name)
}

// profileState are the places that a profile's program writes for real, as the
// profile names them.
func profileState(p *policy.Profile) []string {
	if p == nil {
		return nil
	}
	all := slices.Clone(p.State)
	for _, f := range p.Files {
		all = append(all, f.Path)
	}
	return all
}

// makeFile makes a file that is not there. A link in its place is not followed.
func makeFile(name, content string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	return errors.Join(err, f.Close())
}

// realPaths are the places that the session writes for real, without links: an
// agent of an earlier session in the same place could have written there.
func (s *Session) realPaths(state []string) []string {
	write := slices.Clone(s.config.Write)
	if s.config.Policy != nil {
		write = append(write, s.config.Policy.Filesystem.Write...)
	} else {
		write = append(write, ".")
	}
	home := withoutLinks(s.config.User.Home)
	var out []string
	for _, name := range slices.Concat(s.absolute(write), state) {
		if name = withoutLinks(name); name != home { // the home as such stays an overlay
			out = append(out, name)
		}
	}
	return out
}

func withoutLinks(name string) string {
	if real, err := filepath.EvalSymlinks(name); err == nil {
		return real
	}
	return name
}

// readSettings reads one file of a package manager's configuration. A host that
// it names becomes a way out, so one that an agent could have written does not
// count.
func (s *Session) readSettings(name string, written []string, found *surroundings) []policy.Setting {
	real, err := filepath.EvalSymlinks(s.absolute([]string{name})[0])
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if isBelow(real, written) {
		found.tell("registries of %s are not allowed: the session can write that file", name)
		return nil
	}
	var data []byte
	if err == nil {
		data, err = readFile(real, nil)
	}
	if err != nil {
		found.tell("registries of %s are not allowed: %v", name, err)
		return nil
	}
	return policy.ParseSettings(name, data)
}

func callerSettings(caller map[string]string) []policy.Setting {
	var all []policy.Setting
	for _, name := range slices.Sorted(maps.Keys(caller)) {
		all = append(all, policy.Setting{Where: "the environment", Key: "$" + name, Value: caller[name]})
	}
	return all
}

// pass hands variables that name registries on to the agent, for its tools to
// go where the user's do.
func (a *surroundings) pass(g *policy.Registry, caller map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(caller)) {
		switch value := caller[name]; {
		case !g.Reads(name):
		case policy.HasPassword(value) || policy.LooksLikeKey(value):
			a.tell("the agent does not get %s, which holds a password", name)
		default:
			a.env = append(a.env, name+"="+value)
		}
	}
}

// written are the places of state but for those that the policy hides.
func (a *surroundings) written(hidden []string) []string {
	return slices.DeleteFunc(slices.Clone(a.state), func(name string) bool { return isBelow(name, hidden) })
}

// profileEnviron is what the profile puts into the agent's environment.
func profileEnviron(spec *policy.Session) []string {
	var env []string
	for _, v := range spec.Env {
		env = append(env, v.Name+"="+v.Value)
	}
	return env
}

// tellProfile says what the profile found around the session.
func (s *Session) tellProfile(spec *policy.Session) {
	p := s.config.Profile
	if p == nil {
		return
	}
	if p.Notice != "" && len(spec.Credentials) == 0 && len(s.config.Allow) == 0 && s.config.Policy == nil {
		s.config.Notify(p.Notice)
	}
	for _, line := range s.around.told {
		s.config.Notify(line)
	}
}

// tellCredentials says how to give the agent what it cannot do without. A login
// that its tool has left on the disk is named and not taken: the proxy would
// refresh it, and what the service then gives in its place has to be stored.
func (s *Session) tellCredentials(spec *policy.Session) {
	p := s.config.Profile
	if p == nil || len(spec.Logins) > 0 {
		return
	}
	var there []mask.Login
	if s.masking != nil {
		there = unusedLogins(p, spec, s.masking.logins)
	}
	for _, l := range there {
		s.config.Notify(fmt.Sprintf("profile %s: the login in %s is not in use; store it: sudo phantom-ns secret set %s --from-file %s", p.Name, l.File, l.Provider, l.File))
	}
	if len(there) == 0 && len(p.Credentials) > 0 && len(spec.Credentials) == 0 {
		s.config.Notify(nothingStored(p))
	}
}

// unusedLogins are those on the disk that the profile could use, where the
// session has neither them nor the key that is used instead.
func unusedLogins(p *policy.Profile, spec *policy.Session, there []mask.Login) []mask.Login {
	return slices.DeleteFunc(slices.Clone(there), func(l mask.Login) bool {
		kept := policy.LoginOf(l.Provider)
		return kept == nil || !slices.Contains(p.Credentials, l.Provider) ||
			slices.ContainsFunc(spec.Credentials, func(c policy.Credential) bool {
				return c.Provider == l.Provider || kept.Instead != "" && c.Provider == kept.Instead
			})
	})
}

func nothingStored(p *policy.Profile) string {
	line := fmt.Sprintf("profile %s: no credential is stored; store one: sudo phantom-ns secret set %s", p.Name, p.Credentials[0])
	if others := p.Credentials[1:]; len(others) > 0 {
		line += " (or " + strings.Join(others, ", ") + ")"
	}
	return line
}
