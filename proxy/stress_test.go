// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// TestH8PoolNeverPoisoned: many agents at once, some of which leave in the
// middle of an upload; every other one gets its own answer, whole, and no request
// has two records.
func TestH8PoolNeverPoisoned(t *testing.T) {
	const workers, rounds = 8, 12
	legs(t, func(t *testing.T) http.HandlerFunc { return echoNamed }, func(t *testing.T, r *rig, client *http.Client) {
		client.Transport.(*http.Transport).MaxIdleConnsPerHost = workers
		var wg sync.WaitGroup
		for worker := range workers {
			wg.Go(func() {
				for round := range rounds {
					name := fmt.Sprintf("w%d-r%d", worker, round)
					if round%3 == 2 {
						leave(t, client, name)
						continue
					}
					ask(t, client, name, 1<<(round*2))
				}
			})
		}
		wg.Wait()
		seen := make(map[string]bool)
		for _, rec := range r.sink.wait(workers * rounds * 2 / 3) {
			if seen[rec.Path] {
				t.Errorf("two records for %s", rec.Path)
			}
			seen[rec.Path] = true
		}
	})
}

// echoNamed answers with the request's name before and after its body.
func echoNamed(w http.ResponseWriter, r *http.Request) {
	http.NewResponseController(w).EnableFullDuplex()
	name := r.Header.Get("X-Name")
	io.WriteString(w, name+"<")
	io.Copy(w, r.Body)
	io.WriteString(w, ">"+name)
}

// ask sends a body of size bytes and wants it back.
func ask(t *testing.T, client *http.Client, name string, size int) {
	body := strings.Repeat(name[:1], size)
	req := authorized(t.Context(), t, "POST", "https://"+apiHost+"/"+name, strings.NewReader(body))
	req.Header.Set("X-Name", name)
	resp, err := client.Do(req)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if want := name + "<" + body + ">" + name; err != nil || string(got) != want {
		t.Errorf("%s: %d, %d bytes of %d, begins %.60q, %v", name, resp.StatusCode, len(got), len(want), got, err)
	}
}

// leave gives up in the middle of a body that never ends.
func leave(t *testing.T, client *http.Client, name string) {
	ctx, cancel := context.WithCancel(t.Context())
	pr, pw := io.Pipe()
	req := authorized(ctx, t, "POST", "https://"+apiHost+"/"+name, pr)
	req.Header.Set("X-Name", name)
	go func() {
		io.WriteString(pw, "half a body")
		cancel()
		pw.CloseWithError(context.Canceled)
	}()
	resp, err := client.Do(req)
	if err == nil {
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	cancel()
}
