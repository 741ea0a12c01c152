// SPDX-License-Identifier: Apache-2.0

//go:build root

package escape

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/test/rig"
)

// crowd is how many sessions run at a time: fewer where the machine is emulated,
// and has 2 GiB.
func crowd() int {
	if os.Getenv("RIG_PACE") != "" {
		return 8
	}
	return 50
}

// member is one session of the crowd.
type member struct {
	name, host, key string
	process         *rig.Process
	stdin           *io.PipeWriter
	lines           *bufio.Scanner
	token, ca       string
}

// S1, S4, S5, T2: fifty sessions at a time, each with a credential of its own for
// one of three hosts, drawn at random. Each sends the placeholder of every one to
// that one's host: its own is swapped, another's is refused where the host is
// allowed at all, and the host is no name where it is not. No authority is shared.
func TestS4FiftySessions(t *testing.T) {
	w := rig.New(t)
	u := rig.NewUpstream(t, w.Listen)
	hosts := []string{"a.crowd.test", "b.crowd.test", "c.crowd.test"}
	for _, host := range hosts {
		u.Serve(host, http.HandlerFunc(func(to http.ResponseWriter, r *http.Request) { io.WriteString(to, "ok") }))
	}
	members := make([]*member, crowd())
	for i := range members {
		members[i] = join(t, w, u, i, hosts[rand.IntN(len(hosts))])
	}
	authorities := map[string]bool{}
	for _, m := range members {
		m.token, m.ca = m.line(t), m.line(t)
		authorities[m.ca] = true
		if m.token == "" || strings.Contains(m.token, m.key) {
			t.Fatalf("%s holds %q", m.name, m.token)
		}
	}
	if len(authorities) != len(members) {
		t.Errorf("%d sessions have %d authorities", len(members), len(authorities))
	}
	for _, m := range members {
		go m.ask(members)
	}
	for _, m := range members {
		m.check(t, members)
	}
	for _, host := range hosts {
		checkUpstream(t, u, host, members)
	}
	checkRecords(t, w, members)
}

func join(t *testing.T, w *rig.World, u *rig.Upstream, i int, host string) *member {
	t.Helper()
	m := &member{name: fmt.Sprintf("member%d", i), host: host, key: rig.Canary(t, "")}
	path := fmt.Sprintf("/etc/phantom-ns/%s.yaml", m.name)
	w.Write(path, fmt.Appendf(nil, "version: 1\ncredentials:\n  %s:\n    from: env:KEY\n    env: [TOKEN]\n    hosts: [%s]\n%s", m.name, host, u.Hosts()), 0o644)
	stdin, answer := io.Pipe()
	said, stdout := io.Pipe()
	m.stdin, m.lines = answer, bufio.NewScanner(said)
	m.lines.Buffer(nil, 1<<20)
	// curl reads what to do until its input ends, so nobody asks before all are there.
	script := `echo "$TOKEN"; base64 -w0 /run/phantom-ns/ca.pem; echo; exec curl -s -K -`
	m.process = w.Start(rig.Session{
		Flags: []string{"--policy", path}, Env: []string{"KEY=" + m.key}, Args: []string{"sh", "-c", script},
		Stdin: stdin, Stdout: stdout, Timeout: 2 * time.Minute,
	})
	t.Cleanup(func() { answer.Close(); stdout.Close() })
	return m
}

func (m *member) line(t *testing.T) string {
	t.Helper()
	if !m.lines.Scan() {
		m.stdin.Close()
		t.Fatalf("%s said nothing", m.name)
	}
	return m.lines.Text()
}

func (m *member) ask(all []*member) {
	for _, other := range all {
		fmt.Fprintf(m.stdin, "url = \"https://%s/%s\"\nheader = \"Authorization: Bearer %s\"\noutput = /dev/null\nwrite-out = \"%%{http_code}\\n\"\nnext\n", other.host, other.name, other.token)
	}
	m.stdin.Close()
}

// check reads what curl was answered, in the order of the questions.
func (m *member) check(t *testing.T, all []*member) {
	t.Helper()
	for _, other := range all {
		want := "403"
		switch {
		case other == m:
			want = "200"
		case other.host != m.host:
			want = "000"
		}
		if got := m.line(t); got != want {
			t.Errorf("%s of %s with the placeholder of %s at %s: %s, want %s", m.name, m.host, other.name, other.host, got, want)
		}
	}
	m.process.Wait()
}

// checkUpstream: each key came once, to its host, from its session.
func checkUpstream(t *testing.T, u *rig.Upstream, host string, all []*member) {
	t.Helper()
	var came []string
	for _, e := range u.Exchanges(host) {
		came = append(came, e.Target+" "+strings.Join(e.Header["Authorization"], ","))
	}
	for _, m := range all {
		want, count := "/"+m.name+" Bearer "+m.key, 0
		for _, c := range came {
			if c == want {
				count++
			}
		}
		if expected := m.host == host; (count == 1) != expected || count > 1 {
			t.Errorf("%s: %d requests of %s", host, count, m.name)
		}
	}
}

// checkRecords: what was allowed is in one session's records, with its credential.
func checkRecords(t *testing.T, w *rig.World, all []*member) {
	t.Helper()
	allowed := map[string]string{}
	for _, r := range w.Audit() {
		if r.Kind != audit.KindRequest || r.Verdict != audit.Allow {
			continue
		}
		if other := allowed[r.Session]; other != "" {
			t.Errorf("session %s used %s and %s", r.Session, other, r.Credential)
		}
		if r.Path != "/"+r.Credential {
			t.Errorf("%s was used for %s", r.Credential, r.Path)
		}
		allowed[r.Session] = r.Credential
	}
	if len(allowed) != len(all) {
		t.Errorf("%d of %d sessions have a request that was allowed", len(allowed), len(all))
	}
}
