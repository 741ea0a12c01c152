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

// ParseCommand reads the arguments after the program's name. A global option
// that is not known is an error, as what follows it could be taken for a name.
func ParseCommand(args []string) (Command, error) {
	c := Command{Own: map[string]string{}}
	for len(args) > 0 {
		name, value, given := option(args[0])
		if name == "" {
			c.Name, c.rest = args[0], args[1:]
			return c, nil
		}
		words := args[:1]
		if slices.Contains(own, name) || slices.Contains(globalValues, name) {
			if !given {
				if len(args) < 2 {
					return c, fmt.Errorf("option --%s has no value", name)
				}
				value, words = args[1], args[:2]
			}
		} else if !slices.Contains(globalFlags, name) {
			return c, fmt.Errorf("option %.40q is none of runc's, crun's or ours", args[0])
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

// option takes "--name=value", "--name" or "-n" apart; name is empty for a word
// that is no option.
func option(word string) (name, value string, given bool) {
	if len(word) < 2 || word[0] != '-' {
		return "", "", false
	}
	return strings.Cut(strings.TrimPrefix(word[1:], "-"), "=")
}

// Option returns the value of an option of the command, by any of its names;
// twice is an error, as it would be the runtime's choice which one holds.
func (c Command) Option(names ...string) (string, error) {
	var found []string
	for i, word := range c.rest {
		name, value, given := option(word)
		if !slices.Contains(names, name) {
			continue
		}
		if !given && i+1 < len(c.rest) {
			value = c.rest[i+1]
		}
		found = append(found, value)
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
