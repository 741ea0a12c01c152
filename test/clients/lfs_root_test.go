// SPDX-License-Identifier: Apache-2.0

//go:build root

package clients

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// largeFiles plays the batch API of Git LFS and the places that it names:
// uploads go to the host itself, with the header that asked echoed in the
// answer, as GitLab does; downloads come from a companion, with a signature of
// their own in the query, as GitHub's do.
type largeFiles struct {
	mu      sync.Mutex
	objects map[string][]byte
}

const companion = "github-cloud.githubusercontent.com"

func (l *largeFiles) batch(w http.ResponseWriter, r *http.Request) {
	var ask struct {
		Operation string
		Objects   []struct {
			OID  string
			Size int
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&ask); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	places := map[string]string{
		"upload":   "https://github.com/acme/private.git/objects/%s",
		"download": "https://" + companion + "/media/%s?signature=0123456789abcdef",
	}
	objects := []any{}
	for _, o := range ask.Objects {
		action := map[string]any{"href": fmt.Sprintf(places[ask.Operation], o.OID)}
		if ask.Operation == "upload" {
			action["header"] = map[string]any{"Authorization": r.Header.Get("Authorization")}
		}
		objects = append(objects, map[string]any{"oid": o.OID, "size": o.Size, "authenticated": true, "actions": map[string]any{ask.Operation: action}})
	}
	w.Header().Set("Content-Type", "application/vnd.git-lfs+json")
	json.NewEncoder(w).Encode(map[string]any{"transfer": "basic", "objects": objects})
}

func (l *largeFiles) put(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.objects[r.PathValue("oid")] = data
}

func (l *largeFiles) get(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.URL.Query().Get("signature") == "" || r.Header.Get("Authorization") != "" {
		http.Error(w, "not as signed", http.StatusForbidden)
		return
	}
	w.Write(l.objects[r.PathValue("oid")])
}

// TestGitLFS proves large files both ways: pushed with the real token, fetched
// from the companion host without it.
func TestGitLFS(t *testing.T) {
	tr := newTrial(t, gitHub)
	repository := rig.NewRepository(t, "acme/private.git", "hello from "+tr.upstream.Answer)
	large := &largeFiles{objects: map[string][]byte{}}
	mux := http.NewServeMux()
	mux.Handle("/", tr.upstream.Git(repository, tr.key))
	for pattern, handler := range map[string]http.HandlerFunc{
		"POST /acme/private.git/info/lfs/objects/batch": large.batch, "PUT /acme/private.git/objects/{oid}": large.put,
	} {
		mux.Handle(pattern, tr.challenged(handler))
	}
	tr.upstream.Serve("github.com", mux)
	media := http.NewServeMux()
	media.HandleFunc("GET /media/{oid}", large.get)
	tr.upstream.Serve(companion, media)
	tr.flags = []string{"--profile", "git"}
	tr.run("/bin/sh", "-ec", `
		git clone -q git@github.com:acme/private.git copy
		cd copy
		git lfs install --local >/dev/null
		git lfs track '*.bin' >/dev/null
		head -c 300000 /dev/urandom >large.bin
		git add .gitattributes large.bin
		git -c user.name=agent -c user.email=agent@example.org commit -qm second
		git push -q origin HEAD:refs/heads/main
		cd ..
		GIT_LFS_SKIP_SMUDGE=1 git clone -q git@github.com:acme/private.git again
		cd again
		git lfs install --local >/dev/null
		git lfs pull
		cmp large.bin ../copy/large.bin
		cat README`)
	tr.check(1)
	if len(large.objects) != 1 {
		t.Errorf("%d objects upstream", len(large.objects))
	}
}

// challenged asks for the real token as git sends it.
func (tr *trial) challenged(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !rig.BasicPassword.Carries(r, tr.key) {
			w.Header().Set("WWW-Authenticate", `Basic realm="GitHub"`)
			http.Error(w, "who are you", http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, r)
	})
}
