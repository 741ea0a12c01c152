// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"bytes"
	"io"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Repository is a bare git repository with one commit, whose file README holds
// a known text. It takes pushes.
type Repository struct {
	t    testing.TB
	root string
	path string
}

// NewRepository makes the repository NAME, for instance "acme/private.git".
func NewRepository(t testing.TB, name, readme string) *Repository {
	t.Helper()
	root := t.TempDir()
	r := &Repository{t: t, root: root, path: filepath.Join(root, name)}
	r.git("", "init", "-q", "--bare", "-b", "main", r.path)
	r.git("", "-C", r.path, "config", "http.receivepack", "true")
	blob := r.git(readme, "-C", r.path, "hash-object", "-w", "--stdin")
	tree := r.git("100644 blob "+blob+"\tREADME\n", "-C", r.path, "mktree")
	commit := r.git("first\n", "-C", r.path, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit-tree", tree)
	r.git("", "-C", r.path, "update-ref", "refs/heads/main", commit)
	return r
}

// Read returns a file as it is on a branch.
func (r *Repository) Read(branch, file string) string {
	r.t.Helper()
	return r.git("", "-C", r.path, "show", branch+":"+file)
}

func (r *Repository) git(stdin string, args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null")
	cmd.Stdin = strings.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		r.t.Fatalf("rig: git %v: %v: %s", args, err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// Git plays github.com for one private repository: smart HTTP that challenges
// a bare request with 401, as git expects, and takes key as the password.
func (u *Upstream) Git(r *Repository, key string) http.Handler {
	u.t.Helper()
	backend := filepath.Join(r.git("", "--exec-path"), "git-http-backend")
	program := &cgi.Handler{
		Path: backend,
		Env: []string{"GIT_PROJECT_ROOT=" + r.root, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=octo",
			"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null"},
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		// CGI has no chunked bodies (RFC 3875, section 4.2).
		body, err := io.ReadAll(request.Body)
		if err != nil {
			http.Error(w, "read body", http.StatusBadRequest)
			return
		}
		request.Body = io.NopCloser(bytes.NewReader(body))
		request.TransferEncoding = nil
		request.ContentLength = int64(len(body))
		request.Header.Set("Content-Length", strconv.Itoa(len(body)))
		program.ServeHTTP(w, request)
	})
	return guarded(h, key, `Basic realm="test"`, "authentication required\n", BasicPassword)
}
