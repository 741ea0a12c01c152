// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"fmt"
	"slices"
	"strings"
)

// Command is a command line of an OCI runtime, taken apart as far as this
// package must know it.
type Command struct {
	Own  map[string]string // our own options, by name; they stand among the runtime's global ones
	Name string            // create, run, exec, …; "" where there is none
	Log  string            // where the runtime's client reads errors
	JSON bool              // and reads them as JSON

	global []string // the runtime's own global options
	rest   []string // what follows the name
}

// own are our options, each with a value.
var own = []string{"policy", "runc", "socket", "shared"}

// Global options of runc and crun, by whether a value follows.
var (
	globalValues = []string{"log", "log-format", "root", "criu", "rootless", "cgroup-manager"}
	globalFlags  = []string{"debug", "systemd-cgroup", "help", "h", "version", "v"}
)

// Options of create, run and exec, of either. crun's --config is not among them:
// the file that it names is not the one that is edited.
var (
	commandValues = []string{
		"bundle", "b", "console-socket", "pidfd-socket", "pid-file", "preserve-fds", "process", "p", "cwd", "env", "e", "user", "u",
		"additional-gids", "g", "process-label", "apparmor", "cap", "c", "cgroup",
	}
	commandFlags = []string{
		"no-pivot", "no-new-keyring", "no-subreaper", "no-mount-fallback", "keep", "detach", "d", "tty", "t", "no-new-privs",
		"ignore-paused", "help", "h",
	}
)

// ParseCommand reads the arguments after the program's name. A global option
// that is not known is an error, as what follows it could be taken for a name.
func ParseCommand(args []string) (Command, error) {
	c := Command{Own: map[string]string{}}
	for len(args) > 0 {
		name, value, words, err := first(args, append(slices.Clone(own), globalValues...), globalFlags)
		if err != nil {
			return c, err
		}
		if name == "" {
			c.Name, c.rest = args[0], args[1:]
			return c, nil
		}
		args = args[len(words):]
		switch name {
		case "log":
			c.Log = value
		case "log-format":
			c.JSON = value == "json"
		}
		if slices.Contains(own, name) {
			c.Own[name] = value
		} else {
			c.global = append(c.global, words...)
		}
	}
	return c, nil
}

// first returns the option that args begin with, of those that have a value and
// those that have none, and its words. name is empty where the first word is no
// option; one that is not known could be followed by anything.
func first(args, values, flags []string) (name, value string, words []string, err error) {
	name, value, given := option(args[0])
	isFlag := slices.Contains(flags, name)
	switch {
	case name == "":
		return "", "", args[:1], nil
	case !isFlag && !slices.Contains(values, name):
		return "", "", nil, fmt.Errorf("option %.40q is none of runc's, crun's or ours", args[0])
	case isFlag || given:
		return name, value, args[:1], nil
	case len(args) < 2:
		return "", "", nil, fmt.Errorf("option --%s has no value", name)
	}
	return name, args[1], args[:2], nil
}

// option takes "--name=value", "--name" or "-n" apart; name is empty for a word
// that is no option.
func option(word string) (name, value string, given bool) {
	if len(word) < 2 || word[0] != '-' {
		return "", "", false
	}
	return strings.Cut(strings.TrimPrefix(word[1:], "-"), "=")
}

// Option returns the value of an option of create, run or exec, by any of its
// names; twice is an error, as it would be the runtime's choice which one holds.
// Behind the container's id runc looks for options, too, but not those of exec:
// what stands there is the process's.
func (c Command) Option(names ...string) (string, error) {
	var found []string
	for rest := c.rest; len(rest) > 0; {
		name, value, words, err := first(rest, commandValues, commandFlags)
		if err != nil {
			return "", err
		}
		if name == "" && c.Name == "exec" {
			break
		}
		if slices.Contains(names, name) {
			found = append(found, value)
		}
		rest = rest[len(words):]
	}
	switch len(found) {
	case 0:
		return "", nil
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("option --%s is there twice", names[0])
}

// Args is the command line for the runtime itself.
func (c Command) Args() []string {
	args := slices.Clone(c.global)
	if c.Name != "" {
		args = append(args, c.Name)
	}
	return append(args, c.rest...)
}
