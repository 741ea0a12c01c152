// SPDX-License-Identifier: Apache-2.0

package mask

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// Bounds of what is read: a credential file is a page, not a database. In JSON
// agents keep their history beside their logins.
const (
	maxFile = 1 << 20  // bytes
	maxJSON = 16 << 20 // bytes
	maxKept = 64       // files of one folder
)

// place is a credential file or folder that there is.
type place struct {
	named    string // as the table or the policy has it
	path     string // without links
	stat     unix.Stat_t
	format   string // "": emptied, or a folder
	secrets  []secret
	folder   bool
	keep     []string
	data     []byte
	files    []File
	unread   error // why there is no data
	declared bool
}

// found is everything that there is to cover.
type found struct {
	places   []*place
	warnings []string
}

func (f *found) warn(format string, args ...any) {
	f.warnings = append(f.warnings, fmt.Sprintf(format, args...))
}

// look finds and reads the files of the table and the policy. What the policy
// says of a file comes before what the table says of it.
func look(request Request) *found {
	f := &found{}
	for _, d := range request.Declared {
		s := secret{policy.FileSecret{Field: d.Field, Credential: d.Credential}, true}
		p := f.add(d.Path, d.Path)
		switch {
		case p == nil:
			f.warn("nothing to mask at %q: there is no such file", d.Path)
		case p.format != "" && p.format != d.Format:
			p.unread = errors.New("the policy gives it two formats")
		default:
			p.format, p.declared = d.Format, true
			p.secrets = append(p.secrets, s)
		}
	}
	for _, k := range policy.KnownFiles() {
		name := k.Path
		if rest, ok := strings.CutPrefix(name, "~"); ok {
			name = request.Home + rest
		}
		p := f.add(k.Path, name)
		if p == nil || p.declared && p.format != k.Format {
			continue
		}
		p.format, p.folder, p.keep = k.Format, k.Folder, k.Keep
		for _, s := range k.Secrets {
			p.secrets = append(p.secrets, secret{s, false})
		}
	}
	for _, p := range f.places {
		p.read()
		if !p.folder && p.stat.Nlink > 1 {
			f.warn("%q has %d names on the disk: the others are not masked", p.path, p.stat.Nlink)
		}
	}
	return f
}

// add notes the place that name leads to, once; nil where there is none.
func (f *found) add(named, name string) *place {
	real, err := filepath.EvalSymlinks(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		// In sight or not: what is not understood is covered where it stands.
		real = filepath.Clean(name)
	}
	if i := slices.IndexFunc(f.places, func(p *place) bool { return p.path == real }); i >= 0 {
		return f.places[i]
	}
	p := &place{named: named, path: real, unread: err}
	if err := unix.Lstat(real, &p.stat); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		p.unread = err
	}
	f.places = append(f.places, p)
	return p
}

var (
	errNoFile   = errors.New("not a regular file")
	errNoFolder = errors.New("not a folder")
	errLarge    = fmt.Errorf("larger than %d bytes, or %d of JSON", maxFile, maxJSON)
)

// read reads a place as far as its copy needs it.
func (p *place) read() {
	if p.unread != nil {
		return
	}
	if p.folder {
		p.files, p.unread = keepFiles(p.path, p.keep)
		return
	}
	switch p.format {
	case "":
	case policy.FormatJSON:
		p.data, p.unread = readFile(p.path, maxJSON)
	default:
		p.data, p.unread = readFile(p.path, maxFile)
	}
}

// readFile reads a regular file, and nothing that merely has its name.
func readFile(name string, limit int64) ([]byte, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "file")
	defer file.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, errNoFile
	}
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = errLarge
	}
	return data, err
}

// keepFiles reads what is kept of a folder. A file that cannot be read is left
// out, as everything else is.
func keepFiles(dir string, keep []string) ([]File, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, errors.Join(errNoFolder, err)
	}
	var files []File
	for _, e := range entries {
		kept := slices.ContainsFunc(keep, func(pattern string) bool { return matchStep(pattern, e.Name()) })
		if !kept || len(files) == maxKept {
			continue
		}
		var st unix.Stat_t
		name := filepath.Join(dir, e.Name())
		data, err := readFile(name, maxFile)
		if err == nil && unix.Lstat(name, &st) == nil && !strings.Contains(string(data), "PRIVATE KEY") {
			files = append(files, File{e.Name(), st.Uid, st.Gid, st.Mode & 0o777, data})
		}
	}
	return files, nil
}

// cover makes the copies, now that the placeholders are known.
func (f *found) cover(have credentials) Reply {
	var reply Reply
	for _, p := range f.places {
		c := Cover{Path: p.path, UID: p.stat.Uid, GID: p.stat.Gid, Mode: p.stat.Mode & 0o777}
		c.Folder = p.stat.Mode&unix.S_IFMT == unix.S_IFDIR
		switch {
		case p.unread != nil:
			f.warn("%q is empty for the agent: %s", p.path, reason(p.unread))
		case p.folder:
			c.Files = p.files
		case p.format != "":
			out, err := apply(p.format, p.data, p.secrets, have)
			if err != nil {
				f.warn("%q is empty for the agent, as it does not read as %s: %s", p.path, p.format, reason(err))
				break
			}
			for _, field := range out.absent {
				f.warn("%q has no field %q", p.path, field)
			}
			if out.login != "" {
				reply.Logins = append(reply.Logins, Login{Provider: out.login, File: p.named})
			}
			if !out.changed {
				continue // nothing in it is secret
			}
			c.Content = out.copy
		case p.stat.Size == 0:
			continue
		}
		reply.Covers = append(reply.Covers, c)
	}
	reply.Warnings = f.warnings
	return reply
}

// reason is why, without a word of the file's: parsers quote what they do not
// like.
func reason(err error) string {
	var errno syscall.Errno
	switch {
	case errors.As(err, &errno):
		return errno.Error()
	case slices.ContainsFunc(ownErrors, func(own error) bool { return errors.Is(err, own) }):
		return err.Error()
	}
	return "its syntax is broken"
}

var ownErrors = []error{
	errEncoding, errHeader, errToken, errURL, errNesting, errTrailing, errMany, errTOML, errYAML, errNoFile, errNoFolder, errLarge,
}
