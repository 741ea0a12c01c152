// SPDX-License-Identifier: Apache-2.0

//go:build root

package secret

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ofNobody is the helper as an ordinary user.
func ofNobody(t *testing.T, text string) outcome {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("wants root, to become another user")
	}
	return helper{credential: asNobody}.run(t, request(t, text, Env{UID: nobody, GID: nobody, User: "nobody", Home: "/nonexistent"}))
}

func TestExecHelperRunsAsTheUser(t *testing.T) {
	for script, want := range map[string]string{
		// Rights: the user's, no group of root's.
		"echo I-am-$(id -u)-$(id -g)-$(id -G)-for-sure": "I-am-65534-65534-65534-for-sure",
		// Descriptors: none of the helper's pipes.
		"echo descriptors: $(ls /proc/self/fd)": "descriptors: 0 1 2 3",
		// No core file, of the program either.
		"echo size of core files: $(ulimit -c)": "size of core files: 0",
		// argv of the helper; and the environment that the supervisor gave it.
		"tr \"\\\\0\" \"|\" </proc/$PPID/cmdline; echo": Stage + "|",
	} {
		script = strings.ReplaceAll(script, `\\0`, `\0`)
		o := ofNobody(t, shell(script))
		if err := errors.Join(o.err, o.factsErr, o.exit); err != nil {
			t.Errorf("%s: %v %s", script, err, o.output)
			continue
		}
		if got := string(o.entry.Value.Reveal()); got != want {
			t.Errorf("%s: %q", script, got)
		}
	}
}

// The program has the helper's uid and is its child: nobody is nearer.
func TestP2HelperIsClosedToItsOwnUser(t *testing.T) {
	for _, file := range []string{"maps", "environ", "syscall", "auxv"} {
		script := "if head -c 1 /proc/$PPID/" + file + " >/dev/null 2>&1; then echo readable-readable; else echo refused-refused-; fi"
		o := ofNobody(t, shell(script))
		if o.err != nil || string(o.entry.Value.Reveal()) != "refused-refused-" {
			t.Errorf("%s: %q %v", file, o.entry.Value.Reveal(), o.err)
		}
	}
}

func TestExecHelperRefusesRoot(t *testing.T) {
	o := helper{}.run(t, request(t, "exec:/bin/echo 0123456789abcdef", Env{UID: nobody}))
	if o.err == nil || !strings.Contains(o.err.Error(), ErrRoot.Error()) {
		t.Errorf("%v", o.err)
	}
}

// owned makes a tree in a directory of root's, and gives parts of it away.
type owned struct {
	t    *testing.T
	base string
}

func newOwned(t *testing.T) owned {
	t.Helper()
	base, err := os.MkdirTemp("", "phantom-ns-owned-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	if err := os.Chmod(base, 0o755); err != nil {
		t.Fatal(err)
	}
	return owned{t, base}
}

func (o owned) put(path, content string, mode fs.FileMode, uid int) string {
	o.t.Helper()
	path = filepath.Join(o.base, path)
	var err error
	if mode.IsDir() {
		err = os.Mkdir(path, mode.Perm())
	} else {
		err = os.WriteFile(path, []byte(content), mode)
	}
	if err := errors.Join(err, os.Chmod(path, mode), os.Chown(path, uid, uid)); err != nil {
		o.t.Fatal(err)
	}
	return path
}

func TestExecProgramMustBeRootsAlone(t *testing.T) {
	const script = "#!/bin/sh\necho 0123456789abcdef\n"
	o := newOwned(t)
	o.put("roots", "", fs.ModeDir|0o755, 0)
	o.put("users", "", fs.ModeDir|0o755, nobody)
	o.put("sticky", "", fs.ModeDir|fs.ModeSticky|0o777, 0)
	link := filepath.Join(o.base, "sticky/link")
	good := o.put("roots/tool", script, 0o755, 0)
	if err := errors.Join(os.Symlink(good, link), os.Symlink(o.base+"/users", o.base+"/roots/users")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		good:                                   "",
		o.put("sticky/tool", script, 0o755, 0): "",
		link:                                   "",
		o.put("roots/theirs", script, 0o755, nobody): ErrUnsafe.Error(),
		o.put("roots/group", script, 0o775, 0):       ErrUnsafe.Error(),
		o.put("users/tool", script, 0o755, 0):        ErrUnsafe.Error(),
		o.base + "/roots/users/tool":                 ErrUnsafe.Error(),
		o.put("roots/plain", script, 0o644, 0):       "permission denied",
	} {
		out := ofNobody(t, "exec:"+path)
		if want == "" && (out.err != nil || string(out.entry.Value.Reveal()) != "0123456789abcdef") {
			t.Errorf("%s: %v", path, out.err)
		}
		if want != "" && (out.err == nil || !strings.Contains(out.err.Error(), want)) {
			t.Errorf("%s: %v, want %s", path, out.err, want)
		}
	}
	if err := os.Lchown(link, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	if out := ofNobody(t, "exec:"+link); out.err == nil || !strings.Contains(out.err.Error(), ErrUnsafe.Error()) {
		t.Errorf("a link of the user's: %v", out.err)
	}
}

func TestFileOwners(t *testing.T) {
	c := newCanary(t)
	o := newOwned(t)
	o.put("roots", "", fs.ModeDir|0o755, 0)
	o.put("users", "", fs.ModeDir|0o755, nobody)
	if err := os.Symlink(o.base+"/roots", o.base+"/users/roots"); err != nil {
		t.Fatal(err)
	}
	for path, good := range map[string]bool{
		o.put("roots/roots", string(c), 0o600, 0):      true,
		o.put("roots/users", string(c), 0o600, nobody): true,
		o.put("users/users", string(c), 0o600, nobody): true,
		o.put("roots/third", string(c), 0o600, 4242):   false,
		// The user could have made the path lead to any file of root's.
		o.put("users/root", string(c), 0o600, 0): false,
		o.base + "/users/roots/roots":            false,
	} {
		e, err := fetchAs(t, 0, c, "file:"+path, Env{UID: nobody})
		if good {
			if err != nil {
				t.Errorf("%s: %v", path, err)
			} else {
				c.same(t, e.Value)
			}
		} else if !errors.Is(err, ErrUnsafe) {
			t.Errorf("%s: %v", path, err)
		}
		// As the user, the kernel decides.
		out := ofNobody(t, "file:"+path)
		if mine := strings.HasSuffix(path, "/users"); mine != (out.err == nil) {
			t.Errorf("%s as the user: %v", path, out.err)
		}
	}
}

func TestStoreOfAnotherOwnerIsRefused(t *testing.T) {
	for _, name := range []string{"", keyFile, storeFile} {
		s, c := newStore(t), newCanary(t)
		set(t, s, "openai", c)
		if err := os.Chown(filepath.Join(s.directory, name), nobody, nobody); err != nil {
			t.Fatal(err)
		}
		untouched(t, s, c, ErrUnsafe)
	}
	s := newStore(t)
	set(t, s, "openai", newCanary(t))
	out := helper{credential: asNobody}.run(t, request(t, "store:openai", Env{Directory: s.directory}))
	if out.err == nil || !strings.Contains(out.err.Error(), "permission denied") {
		t.Errorf("a user opened the store: %v", out.err)
	}
}
