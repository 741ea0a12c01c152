// SPDX-License-Identifier: Apache-2.0

// Command phantom-runc is an OCI runtime that puts each container it creates
// under one policy of the node, and leaves everything else to runc. It is how
// Docker, which knows neither CNI nor the Container Device Interface (before
// 25), runs containers that hold placeholders:
//
//	{"runtimes": {"phantom-coder": {"path": "/usr/local/bin/phantom-runc", "runtimeArgs": ["--policy", "coder"]}}}
//
// It guarantees that a container of which it does not know that it is held
// never begins: a configuration that cannot be edited, a policy that the node
// does not have, and a daemon that is away or refuses each end the start with
// a line that says why.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/phantom-ns/phantom-ns/enforcer/node/cdi"
	"github.com/phantom-ns/phantom-ns/enforcer/node/oci"
)

func main() {
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, "phantom-runc: find myself:", err)
		os.Exit(1)
	}
	env := environment{self: self, stdin: os.Stdin, stderr: os.Stderr, exec: syscall.Exec}
	os.Exit(env.main(os.Args[1:]))
}

// environment is what the program touches of the world.
type environment struct {
	self   string // the path of this program: hooks start it
	stdin  io.Reader
	stderr io.Writer
	exec   func(path string, args, env []string) error // returns only an error
}

// hookName is the first argument of a hook; no runtime has such a command.
const hookName = "phantom-hook"

func (e environment) main(args []string) int {
	if len(args) > 0 && args[0] == hookName {
		return e.report(oci.Command{}, e.hook(args[1:]))
	}
	c, err := oci.ParseCommand(args)
	if err != nil {
		return e.report(c, err)
	}
	return e.report(c, e.runtime(c))
}

var errNoPolicy = errors.New("no policy: say --policy NAME, for Docker under runtimeArgs of the runtime")

// runtime edits what the command reads, and becomes the runtime itself.
func (e environment) runtime(c oci.Command) error {
	var err error
	switch c.Name {
	case "create", "run":
		err = e.create(c)
	case "exec":
		err = execute(c)
	case "restore":
		// A checkpoint holds open sockets of a session that is over.
		err = errors.New("containers under a policy are not restored from checkpoints")
	}
	if err != nil {
		return err
	}
	name := c.Own["runc"]
	if name == "" {
		name = "runc"
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return fmt.Errorf("find the runtime: %w", err)
	}
	return fmt.Errorf("execute %s: %w", path, e.exec(path, append([]string{path}, c.Args()...), os.Environ()))
}

// create edits the configuration in the container's bundle.
func (e environment) create(c oci.Command) error {
	policy := c.Own["policy"]
	if policy == "" {
		return errNoPolicy
	}
	bundle, err := c.Option("bundle", "b")
	if err != nil {
		return err
	}
	layout := cdi.Layout{Shared: c.Own["shared"]}
	env, err := layout.Environment(policy)
	if err != nil {
		return err
	}
	edits := oci.Edits{Env: env, Attach: e.hookOf(c, "attach"), Detach: e.hookOf(c, "detach")}
	for _, m := range append(layout.Mounts(policy), layout.Resolver(policy)) {
		edits.Mounts = append(edits.Mounts, oci.Mount(m))
	}
	return rewrite(filepath.Join(bundle, "config.json"), func(data []byte) ([]byte, error) { return oci.Config(data, edits) })
}

// execute edits what one more process in the container is given. Without a file
// of it the command line says all, and a person wrote that.
func execute(c oci.Command) error {
	file, err := c.Option("process", "p")
	if err != nil || file == "" {
		return err
	}
	if c.Own["policy"] == "" {
		return errNoPolicy
	}
	env, err := cdi.Layout{Shared: c.Own["shared"]}.Environment(c.Own["policy"])
	if err != nil {
		return err
	}
	return rewrite(file, func(data []byte) ([]byte, error) { return oci.Process(data, env) })
}

// rewrite replaces what a file says, in the same file: its owner and mode are
// the client's, and nobody reads it before the runtime.
func rewrite(path string, edit func([]byte) ([]byte, error)) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	edited, err := edit(data)
	if err != nil {
		return fmt.Errorf("edit %s: %w", path, err)
	}
	return os.WriteFile(path, edited, 0o600)
}
