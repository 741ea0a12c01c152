// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

// executable is what every child of ours runs: this very program, whatever has
// become of the file it was started from.
const executable = "/proc/self/exe"

// fetching is a helper at work on one credential. The value goes down a pipe
// whose read end the supervisor only passes on; what is not secret about it
// (hosts, provider, or why there is none) comes back to the supervisor.
type fetching struct {
	source
	ref   secret.Ref
	value *os.File // read end, for the proxy
	facts *os.File // read end, for the supervisor
	cmd   *exec.Cmd
}

// startHelper starts the helper for one reference. It runs as the invoking
// user where the source is that user's, else as root.
func (s *supply) startHelper(group *cgroup, from source, ref secret.Ref) (*fetching, error) {
	if ref.Kind() == secret.KindSystemd && !s.config.Trusted {
		// It is root's, and nothing is recorded with it about where it may go.
		return nil, fmt.Errorf("credential %q: %w", from.name, ErrSystemd)
	}
	var ends pipeEnds
	defer ends.closeTheirs()
	f := &fetching{source: from, ref: ref}
	request := ends.toChild()
	f.value = ends.fromChild()
	f.facts = ends.fromChild()
	if ends.err != nil {
		return nil, fmt.Errorf("fetch credential %q: %w", f.name, ends.err)
	}
	defer request.Close()
	env, err := s.secretEnv(ref)
	files := s.lendKey(ref, &env, ends.theirs)
	f.cmd = s.stageCommand(secret.Stage, group, files...)
	if s.runsAsUser(ref) {
		f.cmd.SysProcAttr.Credential = s.userCredential()
	}
	if err := f.cmd.Start(); err != nil {
		f.close()
		return nil, fmt.Errorf("fetch credential %q: start helper: %w", f.name, err)
	}
	go f.cmd.Wait() // reaped here; its answer is what counts
	if err == nil && from.name == proxyPassword {
		err = from.asPassword(&env)
	}
	if err == nil {
		err = secret.Request{Ref: ref, Env: env}.Send(request)
	}
	if err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// runsAsUser tells whose rights fetch a reference: the user's for what is the
// user's, and for whatever a policy names that is not root's.
func (s *supply) runsAsUser(ref secret.Ref) bool {
	return ref.AsUser() || ref.Kind() == secret.KindFile && !s.config.Trusted
}

func (s *supply) userCredential() *syscall.Credential {
	u := s.invoker()
	groups := make([]uint32, len(u.Groups))
	for i, g := range u.Groups {
		groups[i] = uint32(g)
	}
	return &syscall.Credential{Uid: uint32(u.UID), Gid: uint32(u.GID), Groups: groups}
}

// invoker is who called sudo, or, for plain root with --user, that user.
func (s *supply) invoker() User {
	if s.config.Invoker.User != nil {
		return *s.config.Invoker.User
	}
	return s.config.User
}

func (s *supply) secretEnv(ref secret.Ref) (env secret.Env, err error) {
	u := s.invoker()
	env = secret.Env{UID: u.UID, GID: u.GID, User: u.Name, Home: u.Home, Bus: s.config.Caller["DBUS_SESSION_BUS_ADDRESS"]}
	env.Credentials = s.config.Caller["CREDENTIALS_DIRECTORY"]
	if !strings.HasPrefix(env.Bus, "unix:") {
		env.Bus = "unix:path=/run/user/" + strconv.Itoa(u.UID) + "/bus"
	}
	if value := s.config.Caller[ref.Name()]; ref.Kind() == secret.KindEnv && value != "" {
		// The one value that passes through the supervisor: it stood in its
		// caller's environment already.
		env.Value, err = secret.New([]byte(value))
	}
	return env, err
}

// await reads what the helper says about the credential, never its value.
func (f *fetching) await() (secret.Facts, error) {
	defer f.facts.Close()
	facts, err := secret.ReadFacts(f.facts)
	if err != nil {
		return facts, fmt.Errorf("credential %q: %w", f.name, err)
	}
	return facts, nil
}

func (f *fetching) close() {
	f.value.Close()
	f.facts.Close()
}

// source is one credential and where its value comes from.
type source struct {
	name, from string
	optional   bool   // the profile's: it may be absent
	inline     string // of the network's proxy: the password itself
}

// sources lists the session's credentials: the policy's, those that --with
// names, and those that the profile uses where they are stored, each name once.
func sources(file *policy.File, with []string, profile *policy.Profile) []source {
	var all []source
	add := func(s source) {
		if !slices.ContainsFunc(all, func(other source) bool { return other.name == s.name }) {
			all = append(all, s)
		}
	}
	if file != nil {
		for _, c := range file.Credentials {
			add(source{name: c.Name, from: cmp.Or(c.From, storeRef(c.Name))})
		}
		if password, ok := proxyPasswordOf(file); ok {
			add(password)
		}
	}
	for _, name := range with {
		add(source{name: name, from: storeRef(name)})
	}
	if profile != nil {
		for _, name := range profile.Credentials {
			add(source{name: name, from: storeRef(name), optional: true})
		}
	}
	return all
}

func storeRef(name string) string { return string(secret.KindStore) + ":" + name }

// startHelpers starts one helper for each credential of the session that is
// wanted.
func (s *supply) startHelpers(group *cgroup, wanted func(source, secret.Ref) bool) ([]*fetching, error) {
	var all []*fetching
	for _, source := range sources(s.config.Policy, s.config.With, s.config.Profile) {
		ref, err := secret.ParseRef(source.from)
		if err != nil {
			return all, fmt.Errorf("credential %q: %w", source.name, err)
		}
		if !wanted(source, ref) {
			continue
		}
		f, err := s.startHelper(group, source, ref)
		if err != nil {
			return all, err
		}
		s.undo.push(func() error { f.close(); return nil })
		all = append(all, f)
	}
	return all, nil
}

// stageCommand prepares one of our own processes: the same program, the stage
// in argv[0], a cleared environment, the given descriptors from 3 on.
func (s *supply) stageCommand(stage string, group *cgroup, files ...*os.File) *exec.Cmd {
	cmd := exec.Command(executable)
	cmd.Args = []string{stage}
	cmd.Env = []string{}
	cmd.Stderr = &lines{from: strings.TrimPrefix(stage, "phantom-ns: "), tell: s.config.Notify}
	cmd.ExtraFiles = files
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if group != nil {
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(group.service.Fd())
	}
	return cmd
}

// pipeEnds makes pipes to and from a child and keeps the child's ends.
type pipeEnds struct {
	theirs []*os.File
	err    error
}

func (p *pipeEnds) toChild() *os.File {
	r, w := p.pipe()
	p.theirs = append(p.theirs, r)
	return w
}

func (p *pipeEnds) fromChild() *os.File {
	r, w := p.pipe()
	p.theirs = append(p.theirs, w)
	return r
}

func (p *pipeEnds) pipe() (r, w *os.File) {
	r, w, err := os.Pipe()
	if err != nil && p.err == nil {
		p.err = fmt.Errorf("make pipe: %w", err)
	}
	return r, w
}

func (p *pipeEnds) closeTheirs() { closeAll(p.theirs) }
