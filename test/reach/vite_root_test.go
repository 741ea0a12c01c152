// SPDX-License-Identifier: Apache-2.0

//go:build root

package reach

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// installed is where test/setup/install.sh clients puts what comes from npm.
const installed = "/var/cache/phantom-ns-test/clients"

// site is a page whose module is replaced while it is shown. The server's own
// files are not the agent's to write.
var site = map[string]string{
	"index.html":      `<!doctype html><script type="module" src="/main.js"></script>`,
	"main.js":         "document.title = 'one'\nimport.meta.hot.accept()\n",
	"vite.config.mjs": "export default { cacheDir: '.cache', clearScreen: false }\n",
}

// TestPublishShowsVite: a development server from npm as it comes; a browser on
// the host has its page, and hears over its WebSocket of a module that somebody
// outside has saved.
func TestPublishShowsVite(t *testing.T) {
	if _, err := os.Stat(installed + "/node/node_modules/vite"); err != nil {
		t.Fatalf("vite is not there (%v): run test/setup/install.sh clients", err)
	}
	w := rig.New(t)
	for name, text := range site {
		w.Give(rig.Work+"/"+name, []byte(text), 0o644)
	}
	w.Bind(installed+"/node/node_modules", rig.Work+"/node_modules")
	ready, tap := newWatcher("http://127.0.0.1:3000/"), w.Tap(ownPorts)
	session := w.Start(rig.Session{
		Policy: "version: 1\npublish: [\"127.0.0.1:8000:3000\"]\n", Stdout: ready,
		Args: []string{"node", "node_modules/vite/bin/vite.js", "--host", "127.0.0.1", "--port", "3000", "--strictPort"},
	})
	ready.await(t)
	if page := page(t, w, "/"); !strings.Contains(page, `src="/@vite/client"`) {
		t.Errorf("page: %q", page)
	}
	if module := page(t, w, "/main.js"); !strings.Contains(module, "'one'") {
		t.Errorf("module: %q", module)
	}
	r := hot(t, w)
	if m := update(t, r); m.Type != "connected" {
		t.Fatalf("the server began with %+v", m)
	}
	w.Give(rig.Work+"/main.js", []byte("document.title = 'two'\nimport.meta.hot.accept()\n"), 0o644)
	m := update(t, r)
	if m.Type != "update" || len(m.Updates) != 1 || m.Updates[0].Path != "/main.js" {
		t.Fatalf("after the change the server said %+v", m)
	}
	if module := page(t, w, fmt.Sprintf("/main.js?t=%d", m.Updates[0].Timestamp)); !strings.Contains(module, "'two'") {
		t.Errorf("new module: %q", module)
	}
	if err := session.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if r := session.Wait(); strings.Contains(r.Stderr, "phantom-ns:") {
		t.Errorf("%v", r)
	}
	if seen := tap.Stop(); len(seen) > 0 {
		t.Errorf("packets left: %v", seen)
	}
}

// page asks as a browser on the host does, which knows the port as its own.
func page(t *testing.T, w *rig.World, path string) string {
	t.Helper()
	conn := must(t, w, "127.0.0.1:8000")
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost:8000\r\nConnection: close\r\n\r\n", path)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", path, response.Status, err)
	}
	return string(body)
}

var wsToken = regexp.MustCompile(`const wsToken = "([^"]+)"`)

// hot opens the WebSocket of the page's client, with the token that it has.
func hot(t *testing.T, w *rig.World) *bufio.Reader {
	t.Helper()
	token := wsToken.FindStringSubmatch(page(t, w, "/@vite/client"))
	if token == nil {
		t.Fatal("the client has no token")
	}
	conn := must(t, w, "127.0.0.1:8000")
	fmt.Fprintf(conn, "GET /?token=%s HTTP/1.1\r\nHost: localhost:8000\r\nOrigin: http://localhost:8000\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: vite-hmr\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", token[1])
	r := bufio.NewReader(conn)
	response, err := http.ReadResponse(r, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade: %v, %v", response, err)
	}
	return r
}

// told is what the server tells a page.
type told struct {
	Type    string `json:"type"`
	Updates []struct {
		Path      string `json:"path"`
		Timestamp int64  `json:"timestamp"`
	} `json:"updates"`
}

// update reads one text frame of a server's (RFC 6455, section 5.2).
func update(t *testing.T, r *bufio.Reader) (m told) {
	t.Helper()
	head := make([]byte, 2)
	if _, err := io.ReadFull(r, head); err != nil || head[0] != 0x81 || head[1] > 126 {
		t.Fatalf("frame: %v, %v", head, err)
	}
	size := int(head[1])
	if size == 126 {
		if _, err := io.ReadFull(r, head); err != nil {
			t.Fatal(err)
		}
		size = int(head[0])<<8 | int(head[1])
	}
	text := make([]byte, size)
	if _, err := io.ReadFull(r, text); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return m
}
