// SPDX-License-Identifier: Apache-2.0

package install

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
)

// Where runtimes look, unless they are told otherwise.
const (
	NetworksDir = "/etc/cni/net.d"
	PluginsDir  = "/opt/cni/bin"
)

// File is ours among those of NetworksDir. It sorts before what other
// installers call theirs: 00-multus.conf, 05-cilium.conflist.
const File = "00-00-phantom-ns.conflist"

// Config says what is installed, and where.
type Config struct {
	Networks string // "" is NetworksDir
	Plugins  string // "" is PluginsDir
	Plugin   string // the plugin's file, to be copied; "": it is there
	Entry    string // the file of the plugin's entry in a list of plugins
	Logger   *slog.Logger
}

func (c *Config) networks() string { return cmp.Or(c.Networks, NetworksDir) }
func (c *Config) plugins() string  { return cmp.Or(c.Plugins, PluginsDir) }
func (c *Config) file() string     { return filepath.Join(c.networks(), File) }

// maxFile bounds a configuration; what is longer is none.
const maxFile = 1 << 20

// Install copies the plugin and puts it behind the node's network. The plugin
// comes first: a list that names one that is not there starts no container. It
// is an error that wraps [ErrNoNetwork] where there is no network and nothing
// of ours.
func Install(c Config) error {
	if c.Plugin != "" {
		if err := copyPlugin(c.Plugin, c.plugins()); err != nil {
			return fmt.Errorf("install plugin: %w", err)
		}
	}
	if err := os.MkdirAll(c.networks(), 0o755); err != nil {
		return fmt.Errorf("install plugin: %w", err)
	}
	return c.sync()
}

// sync brings our file to what the network's says.
func (c *Config) sync() error {
	entry, err := os.ReadFile(c.Entry)
	if err != nil {
		return fmt.Errorf("chain plugin: %w", err)
	}
	if err := checkEntry(entry); err != nil {
		return fmt.Errorf("chain plugin: %s: %w", c.Entry, err)
	}
	path, list, err := c.network(entry)
	if err != nil {
		return fmt.Errorf("chain plugin: %w", err)
	}
	changed, err := replace(c.file(), list, 0o600)
	if err != nil {
		return fmt.Errorf("chain plugin: %w", err)
	}
	if changed {
		c.Logger.Info("plugin is chained", "behind", path, "in", c.file())
	}
	return nil
}

// network is the list that is to be installed, and whose it is. It is the first
// file that a runtime could use were ours not there.
func (c *Config) network(entry []byte) (path string, list []byte, err error) {
	entries, err := os.ReadDir(c.networks()) // sorted, as runtimes have it
	if err != nil {
		return "", nil, err
	}
	for _, e := range entries {
		extension := filepath.Ext(e.Name()) // those that libcni takes
		if !slices.Contains([]string{".conflist", ".conf", ".json"}, extension) || e.Name() == File {
			continue
		}
		path := filepath.Join(c.networks(), e.Name())
		if e.Name() < File {
			return "", nil, fmt.Errorf("%s comes before %s, and so would be used instead; rename it", path, File)
		}
		data, err := readFile(path)
		if err == nil && isLoopback(data) {
			continue
		}
		if err == nil {
			list, err = chained(data, entry)
		}
		if err != nil { // half written, it may be: the next file is not what is meant
			return "", nil, fmt.Errorf("network of %s: %w", path, err)
		}
		return path, list, nil
	}
	return "", nil, ErrNoNetwork
}

// Remove takes the plugin out of the node's network, and then away. Containers
// that start from now on are held by nothing.
func Remove(c Config) error {
	for _, path := range []string{c.file(), filepath.Join(c.plugins(), Plugin)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove plugin: %w", err)
		}
	}
	return nil
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, errors.New("it is no file of at most 1 MiB")
	}
	return os.ReadFile(path)
}

func copyPlugin(from, dir string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	_, err = replace(filepath.Join(dir, Plugin), data, 0o755)
	return err
}

// unfinished begins the name of a file that is not in its place yet. A runtime
// reads none of that name.
const unfinished = ".phantom-ns-"

// replace puts a file in the place of another in one step, when it says
// something new.
func replace(path string, data []byte, mode os.FileMode) (changed bool, err error) {
	if had, err := os.ReadFile(path); err == nil && bytes.Equal(had, data) {
		info, err := os.Lstat(path)
		if err == nil && info.Mode() == mode {
			return false, nil
		}
	}
	file, err := os.CreateTemp(filepath.Dir(path), unfinished+"*")
	if err != nil {
		return false, err
	}
	_, err = file.Write(data)
	err = errors.Join(err, file.Chmod(mode), file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path) // the step that makes it so
	}
	if err != nil {
		return false, errors.Join(err, os.Remove(file.Name()))
	}
	return true, nil
}
