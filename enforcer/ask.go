// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/phantom-ns/phantom-ns/netns"
	"github.com/phantom-ns/phantom-ns/netns/sandbox"
	"github.com/phantom-ns/phantom-ns/proxy/ca"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// askDeadline bounds all questions to package managers together: npm takes a
// third of a second, and some seconds on a machine that is busy.
const askDeadline = 10 * time.Second

// maxAnswer bounds what a package manager may answer: pip's help has 12 KiB.
const maxAnswer = 64 << 10

// question is one registry: what the user's configuration says of it, and what
// the package manager answered where that says nothing.
type question struct {
	registry *policy.Registry
	settings []policy.Setting
	stamps   string         // of the program and the files it reads; "": it is not asked
	answer   policy.Setting // zero: it was not asked, or did not say
	told     string         // why not
	quiet    bool           // the person has been told why there may be no registry
}

// lookAt finds the program that answers q, as the user would find it. One that
// is not there is not asked.
func (s *Session) lookAt(q *question, written []string) {
	for _, dir := range strings.Split(s.askedPath(), ":") {
		program, err := filepath.EvalSymlinks(filepath.Join(dir, q.registry.Ask[0]))
		if err != nil {
			continue
		}
		if isBelow(program, written) {
			q.told = fmt.Sprintf("%s is not asked for its registry: the session can write %q", q.registry.Ask[0], program)
			return
		}
		q.stamps = stamps(append([]string{program}, s.absolute(q.registry.Files)...))
		return
	}
}

// stamps changes when one of the files does.
func stamps(files []string) string {
	var out strings.Builder
	for _, name := range files {
		if info, err := os.Stat(name); err == nil {
			fmt.Fprintf(&out, "%s %d %d\n", name, info.Size(), info.ModTime().UnixNano())
		}
	}
	return out.String()
}

// askTools asks the package managers that the configuration says nothing
// about, side by side. Their programs are the user's to write, so each runs as
// an agent does, in a sealed namespace with nothing outside to reach, and
// before the session has any way out. Answers are remembered.
func (s *Session) askTools(group *cgroup, questions []question) {
	if !slices.ContainsFunc(questions, func(q question) bool { return q.stamps != "" }) {
		return
	}
	known := loadAnswers(s.config.User.UID)
	ctx, cancel := context.WithTimeout(context.Background(), askDeadline)
	defer cancel()
	var wg sync.WaitGroup
	for i := range questions {
		q := &questions[i]
		if q.stamps == "" {
			continue
		}
		if output, ok := known.find(q); ok {
			q.answer = q.registry.Answer(output)
			continue
		}
		wg.Go(func() {
			output, err := s.askTool(ctx, group, fmt.Sprintf("ask%d", i), q.registry.Ask)
			switch {
			case err != nil:
				q.told = fmt.Sprintf("no registry is known for %s: %s: %v", q.registry.Ask[0], strings.Join(q.registry.Ask, " "), err)
			default:
				known.keep(q, output)
				q.answer = q.registry.Answer(output)
			}
		})
	}
	wg.Wait()
	if err := known.save(); err != nil {
		s.config.Logger.Warn("remember what package managers answered", "error", err)
	}
}

// askTool runs one command in a namespace and a cgroup of its own and returns
// what it printed.
func (s *Session) askTool(ctx context.Context, group *cgroup, name string, argv []string) (output string, err error) {
	namespace, err := netns.New()
	if err != nil {
		return "", err
	}
	defer namespace.Close()
	leaf, err := makeLeaf(filepath.Join(group.path, name))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, leaf.Close(), removeCgroup(leaf.Name())) }()
	read, write, err := os.Pipe()
	if err != nil {
		return "", fmt.Errorf("make pipe: %w", err)
	}
	defer read.Close()
	u := s.config.User
	child, err := sandbox.Start(ctx, sandbox.Config{
		Cgroup: leaf, Namespace: namespace, Executable: executable, Stdout: write,
		Spec: sandbox.Spec{
			User: sandbox.User{Name: u.Name, Home: u.Home, Shell: u.Shell, UID: u.UID, GID: u.GID, Groups: dropPrivilegedGroups(u.Groups)},
			Dir:  "/", DirRead: true, IPv6: namespace.HasIPv6(), Memlock: s.memlock,
		},
	})
	if err := errors.Join(err, write.Close()); err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, child.Close()) }()
	return s.listenTo(child, read, argv)
}

// listenTo lets child run argv and returns its output.
func (s *Session) listenTo(child *sandbox.Child, from io.Reader, argv []string) (string, error) {
	listeners, err := child.Listeners()
	if err != nil {
		return "", err
	}
	closeListeners(listeners)
	names, err := newNameFiles()
	if err != nil {
		return "", err
	}
	nobody, err := ca.New(ca.Options{Names: []string{}}) // it signs nothing
	if err != nil {
		return "", err
	}
	if err := child.Launch(sandbox.Launch{
		Argv: argv, Env: agentEnviron(s.config.Caller, s.config.User, []string{"PATH=" + s.askedPath()}),
		CA: nobody.PEM(), SystemRoots: names.roots,
		Hosts: names.hosts, ResolvConf: names.resolvConf, Nsswitch: names.nsswitch,
	}); err != nil {
		return "", err
	}
	var output bytes.Buffer
	if _, err := io.Copy(&output, io.LimitReader(from, maxAnswer)); err != nil {
		return "", fmt.Errorf("read its answer: %w", err)
	}
	status, err := child.Wait()
	if err == nil && (status.Code != 0 || status.Signal != 0) {
		err = fmt.Errorf("it ended with status %d, signal %d", status.Code, status.Signal)
	}
	return output.String(), err
}

// askedPath is where the programs that are asked are looked for, and what they
// start: never in a place that an agent could have written.
func (s *Session) askedPath() string {
	written := s.realPaths(s.absolute(profileState(s.config.Profile)))
	dirs := slices.DeleteFunc(strings.Split(agentPath(s.config.Caller["PATH"]), ":"), func(dir string) bool {
		return isBelow(withoutLinks(dir), written)
	})
	return strings.Join(dirs, ":")
}

// isBelow reports whether name is one of the places or lies below one.
func isBelow(name string, places []string) bool {
	return slices.ContainsFunc(places, func(dir string) bool { return name == dir || strings.HasPrefix(name, dir+"/") })
}
