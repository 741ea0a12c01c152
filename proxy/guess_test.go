// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
)

// TestL11GuessesByWhatIsHeldBack: an upstream that says what it is told, and
// pauses, confirms a few characters of a credential to an agent that tries all of
// them, and no more: five behind the beginning that everybody knows, and two that
// count. What the agent sees hangs on no clock: behind a full stop the guess has
// come, or has not.
func TestL11GuessesByWhatIsHeldBack(t *testing.T) {
	const public, most = "sk-", len("sk-") + 5 + 2
	alphabet := []byte(canary)
	slices.Sort(alphabet)
	alphabet = append([]byte{'q'}, slices.Compact(alphabet)...) // what is tried first is wrong
	said := make(chan string)                                   // by the upstream; "" ends an answer
	legs(t, func(t *testing.T) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			for text := range said {
				if text == "" {
					return
				}
				io.WriteString(w, "."+text)
				w.(http.Flusher).Flush()
			}
		}
	}, func(t *testing.T, r *rig, client *http.Client) {
		// confirmed returns the first of the characters that is held back behind known.
		confirmed := func(known string) string {
			resp, err := client.Do(authorized(t.Context(), t, "GET", "https://"+apiHost+"/", nil))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			defer io.Copy(io.Discard, resp.Body)
			defer func() { said <- "" }()
			buf := make([]byte, 1024)
			for _, c := range alphabet {
				said <- known + string(c)
				n, err := resp.Body.Read(buf)
				if err != nil {
					t.Fatal(err)
				}
				if strings.HasSuffix(string(buf[:n]), ".") {
					return string(c)
				}
			}
			return ""
		}
		known := public
		for len(known) < len(canary) {
			c := confirmed(known)
			if c == "" {
				break
			}
			known += c
		}
		right := 0
		for right < len(known) && known[right] == canary[right] {
			right++
		}
		if right != most {
			t.Errorf("the agent learnt %d characters, want %d", right, most)
		}
		told := 0
		for _, rec := range r.sink.wait(1) {
			if rec.Reason == audit.ReasonGuessing {
				told++
			}
		}
		if told != 1 {
			t.Errorf("told %d times", told)
		}
	})
}
