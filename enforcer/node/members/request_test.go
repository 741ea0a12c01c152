// SPDX-License-Identifier: Apache-2.0

package members

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/enforcer"
)

func TestParseRequestBounds(t *testing.T) {
	long := strings.Repeat("x", bytesLimit)
	for name, c := range map[string]struct {
		request any
		want    error
	}{
		"whole":            {Request{Command: []string{"sh", long[:bytesLimit-4]}, Env: []string{long[1:]}}, nil},
		"no command":       {Request{Env: []string{"A=b"}}, ErrBadRequest},
		"long arguments":   {Request{Command: []string{"sh", long[3:]}}, ErrBadRequest},
		"long environment": {Request{Command: []string{"sh"}, Env: []string{"A=" + long}}, ErrBadRequest},
		"long paths":       {Request{Command: []string{"sh"}, Write: []string{long}}, ErrBadRequest},
		"zero byte":        {Request{Command: []string{"sh", "a\x00b"}}, ErrBadRequest},
		"another type":     {[]string{"sh"}, ErrBadRequest},
		"exec":             {Request{Do: DoExec, Sessions: []string{"7f"}, Command: []string{"sh"}}, nil},
		"exec of nothing":  {Request{Do: DoExec, Sessions: []string{"7f"}}, ErrBadRequest},
		"exec nowhere":     {Request{Do: DoExec, Command: []string{"sh"}}, ErrBadRequest},
		"exec in two":      {Request{Do: DoExec, Sessions: []string{"7f", "8a"}, Command: []string{"sh"}}, ErrBadRequest},
		"ps":               {Request{Do: DoList}, nil},
		"stop":             {Request{Do: DoStop, Sessions: []string{"7f", "8a"}, Timeout: MaxTimeout}, nil},
		"stop of nothing":  {Request{Do: DoStop}, ErrBadRequest},
		"stop of many":     {Request{Do: DoStop, Sessions: make([]string, maxSessions+1)}, ErrBadRequest},
		"stop for long":    {Request{Do: DoStop, Sessions: []string{"7f"}, Timeout: MaxTimeout + 1}, ErrBadRequest},
		"stop before now":  {Request{Do: DoStop, Sessions: []string{"7f"}, Timeout: -1}, ErrBadRequest},
		"another errand":   {Request{Do: "reload", Command: []string{"sh"}}, ErrBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := json.Marshal(c.request)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := ParseRequest(text); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestCheckRefusesWhatWidens(t *testing.T) {
	u := enforcer.User{Name: "ada", UID: 1000}
	for name, c := range map[string]struct {
		r    Request
		want error
	}{
		"nothing":       {Request{}, nil},
		"their own":     {Request{User: "ada", Policy: "ci-2", Profile: "claude", Write: []string{"~/x"}}, nil},
		"by number":     {Request{User: "1000"}, nil},
		"somebody else": {Request{User: "bob"}, ErrOtherUser},
		"root":          {Request{User: "0"}, ErrOtherUser},
		"a path":        {Request{Policy: "/tmp/p.yaml"}, ErrOwnPolicy},
		"a relative":    {Request{Policy: "../policy"}, ErrOwnPolicy},
		"a file":        {Request{Policy: "ci.yaml"}, ErrOwnPolicy},
		"a credential":  {Request{With: []string{"openai"}}, ErrWidens},
		"a login":       {Request{Login: []string{"claude"}}, ErrWidens},
		"a host":        {Request{Allow: []string{"evil.example"}}, ErrWidens},
		"a passphrase":  {Request{Passphrase: true}, ErrPassphrase},
	} {
		t.Run(name, func(t *testing.T) {
			if err := c.r.Check(u); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

// The path of a folder is believed where it leads to the folder.
func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	open := func(name string) *os.File {
		f, err := os.OpenFile(name, unix.O_PATH, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	if name, err := Directory(open(dir), enforcer.Invoker{}); name != dir || err != nil {
		t.Errorf("got %q, %v", name, err)
	}
	if _, err := Directory(open("/dev/null"), enforcer.Invoker{}); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("a device: %v", err)
	}
	gone := filepath.Join(dir, "gone")
	if err := os.Mkdir(gone, 0o755); err != nil {
		t.Fatal(err)
	}
	held := open(gone)
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	if _, err := Directory(held, enforcer.Invoker{}); !errors.Is(err, unix.ENOENT) {
		t.Errorf("a removed one: %v", err)
	}
	// Somebody could give a folder the name that a removed one is shown by.
	if err := os.Mkdir(gone+" (deleted)", 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Directory(held, enforcer.Invoker{}); !errors.Is(err, unix.ESTALE) {
		t.Errorf("another in its place: %v", err)
	}
}
