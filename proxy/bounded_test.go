// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// fiction is n bytes of text that nobody keeps.
type fiction struct{ left int64 }

var page1 = []byte(strings.Repeat("data: {\"delta\": \"the same words, again\"}\n\n", 800))

func (f *fiction) Read(p []byte) (int, error) {
	if f.left <= 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(int64(len(p)), f.left)], page1)
	f.left -= int64(n)
	return n, nil
}

// watermark counts what passes, and looks at the memory in use now and then.
type watermark struct{ n, next, most int64 }

func (w *watermark) Write(p []byte) (int, error) {
	if w.n += int64(len(p)); w.n >= w.next {
		w.next = w.n + 64<<20
		w.most = max(w.most, int64(resident()))
	}
	return len(p), nil
}

// bothWays sends size bytes up and as many down, and returns the memory that
// client, proxy and upstream took at most.
func bothWays(t *testing.T, h2 bool, size int64) (most int64) {
	world := newAuthority(t)
	up := newHandlerUpstream(t, world, h2, func(w http.ResponseWriter, r *http.Request) {
		mark := &watermark{}
		n, err := io.Copy(mark, r.Body)
		w.Header().Set("X-Got", fmt.Sprint(n, err, mark.most))
		io.Copy(w, &fiction{size})
	})
	at := up.Listener.Addr().String()
	r := newRig(t, testSession(at, at), world, nil)
	r.longer = time.Duration(size>>20) * time.Second / 4
	resp, err := r.client(h2).Do(authorized(t.Context(), t, "POST", "https://"+apiHost+"/", &fiction{size}))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	mark := &watermark{}
	var n, above int64
	var failure string
	fmt.Sscan(resp.Header.Get("X-Got"), &n, &failure, &above)
	if got, err := io.Copy(mark, resp.Body); got != size || err != nil || n != size {
		t.Errorf("%d bytes down, %v; up: %q", got, err, resp.Header.Get("X-Got"))
	}
	return max(mark.most, above)
}

// TestD4BoundedMemory: a body is not held, however long; see the soak suite for
// eight GiB.
func TestD4BoundedMemory(t *testing.T) {
	eachProtocol(t, func(t *testing.T, h2 bool) {
		if most := bothWays(t, h2, 128<<20); most > maxBothWays {
			t.Errorf("%d MiB in use", most>>20)
		}
	})
}

// maxBothWays is what client, proxy and upstream of one exchange may use. The
// windows of h2 alone are 4 MiB.
const maxBothWays = 64 << 20
