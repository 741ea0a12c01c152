// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns/sandbox"
	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

func needlesFor(t *testing.T, value string) []needle {
	t.Helper()
	v, err := secret.New([]byte(value))
	if err != nil {
		t.Fatal(err)
	}
	all, err := newNeedles(&policy.Credential{Name: "a"}, v)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// A value is found as it is and in base64 wherever it begins, at any place of
// a file, and on the right line.
func TestP15SearchFindsEveryForm(t *testing.T) {
	const value = "sk-0123456789abcdef~?>0123456789"
	needles := needlesFor(t, value)
	const longest = 48
	for name, form := range map[string]string{
		"raw": value, "base64": base64.StdEncoding.EncodeToString([]byte(value)),
		"behind one":  base64.StdEncoding.EncodeToString([]byte("x" + value + "yy")),
		"behind two":  base64.StdEncoding.EncodeToString([]byte("xx" + value + "y")),
		"Basic":       base64.StdEncoding.EncodeToString([]byte("user:" + value)),
		"of URLs":     base64.URLEncoding.EncodeToString([]byte("x" + value)),
		"another one": "",
	} {
		for _, before := range []int{0, 1, searchChunk - 60, searchChunk - len(form), searchChunk - 1, searchChunk, 2*searchChunk - 50} {
			text := strings.Repeat("\n", before) + form + "\nrest\n"
			found, err := searchFile(strings.NewReader(text), needles, longest, make([]byte, searchChunk))
			if err != nil {
				t.Fatal(err)
			}
			if form == "" && len(found) != 0 {
				t.Errorf("%s: found %v", name, found)
			}
			if form != "" && (len(found) != 1 || found[0].Line != before+1) {
				t.Errorf("%s behind %d lines: found %v", name, before, found)
			}
		}
	}
	found, err := searchFile(strings.NewReader(value[1:]+value[:len(value)-1]), needles, longest, make([]byte, searchChunk))
	if err != nil || len(found) != 0 {
		t.Errorf("parts were taken for the whole: %v, %v", found, err)
	}
}

func TestP15SearchIsBounded(t *testing.T) {
	dir := t.TempDir()
	for i := range maxAtRestFiles + 1 {
		if err := os.WriteFile(filepath.Join(dir, "f"+strings.Repeat("x", i/100)+string(rune('a'+i%100))), []byte("text"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files, more := openAtRest([]string{dir + "/*"})
	defer closeAll(files)
	if len(files) != maxAtRestFiles || !more {
		t.Errorf("opened %d, more: %v", len(files), more)
	}
	other := t.TempDir()
	if err := os.Symlink("/dev/zero", other+"/device"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(other+"/file", []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("file", other+"/link"); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"loop": "loop", "nowhere": "none"} {
		if err := os.Symlink(target, filepath.Join(other, name)); err != nil {
			t.Fatal(err)
		}
	}
	files, more = openAtRest([]string{other + "/*", other + "/file"})
	defer closeAll(files)
	if len(files) != 1 || more {
		t.Errorf("opened %d of a device, a file and links; more: %v", len(files), more)
	}
}

// Who holds a lease keeps the search from a file, and not an agent from reading
// it later (F_SETLEASE, fcntl(2)).
func TestP15LeasedFileIsNotTakenForUnreadable(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	held, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if _, err := unix.FcntlInt(held.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		t.Fatal(err)
	}
	files, more := openAtRest([]string{name})
	defer closeAll(files)
	if len(files) != 0 || !more {
		t.Errorf("opened %d, more: %v", len(files), more)
	}
}

// P15: a credential in a file that is masked or hidden does not lie where the
// agent reads it; in one that the policy exposes all the same, it does.
func TestP15CoveredFilesDoNotCount(t *testing.T) {
	s := home(t, map[string]string{"masked": "", "exposed": "", "work/.env": "", "work/keys/one": "", "work/seen": ""})
	log, err := audit.Open(filepath.Join(t.TempDir(), "audit.jsonl"), audit.NewID())
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	s.trail, s.strict = &Trail{Log: log}, true
	if err := os.Symlink("work/keys", s.config.User.Home+"/link"); err != nil {
		t.Fatal(err)
	}
	covered := s.covered(&policy.Session{Filesystem: policy.Filesystem{
		Hide: []string{".env", "~/link", "gone"}, Expose: []string{"~/exposed"},
	}}, []sandbox.Cover{{Path: s.config.User.Home + "/masked"}, {Path: s.config.User.Home + "/exposed"}})
	for name, want := range map[string]error{
		"~/masked": nil, ".env": nil, "keys/one": nil, "~/link/one": nil, "~/exposed": ErrKeyAtRest, "seen": ErrKeyAtRest,
	} {
		found := make(chan atRest, 1)
		found <- atRest{files: s.absolute([]string{name}), findings: []finding{{Line: 1, Credential: "a"}}}
		s.atRest = found
		if err := s.tellAtRest(covered); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
}
