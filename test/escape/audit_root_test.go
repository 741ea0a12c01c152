// SPDX-License-Identifier: Apache-2.0

//go:build root

package escape

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/test/rig"
)

// TestD7FullDisk fills the disk under the log of a session that makes requests:
// by default each has its record when there is room again, and where the policy
// does without, those that are missing are counted.
func TestD7FullDisk(t *testing.T) {
	const requests = 30 // some 12 kB of records, more than a page that is begun
	for full, lost := range map[string]bool{"block": false, "drop": true} {
		t.Run(full, func(t *testing.T) {
			s := newStage(t, attempt(t))
			s.must(s.world.Do(func() error {
				if err := os.MkdirAll(filepath.Dir(rig.AuditLog), 0o750); err != nil {
					return err
				}
				return unix.Mount("none", filepath.Dir(rig.AuditLog), "tmpfs", 0, "size=64k,mode=750")
			}))
			const script = `echo ready; read -r _
curl -sS -o /dev/null -w '%{http_code}\n' 'https://` + name + `/[1-30]'
echo done; read -r _; curl -sS -o /dev/null -w '%{http_code}\n' https://` + name + `/last`
			said, says := io.Pipe()
			t.Cleanup(func() { said.Close() })
			wait, proceed := io.Pipe()
			warned, warns := io.Pipe()
			t.Cleanup(func() { warned.Close() })
			p := s.world.Start(rig.Session{
				Policy: s.policy("audit: {full: " + full + "}\n"), Args: []string{"sh", "-c", script}, Stdin: wait, Stdout: says, Stderr: warns,
			})
			lines := bufio.NewReader(said)
			s.until(lines, "ready\n")
			filler := filepath.Join(filepath.Dir(rig.AuditLog), "filler")
			s.must(s.world.Do(func() error { return fill(filler) }))
			s.write(proceed, "go\n")
			answered := s.until(lines, "done\n")
			if answered != strings.Repeat("200\n", requests) {
				t.Errorf("answers while the disk is full: %q", answered)
			}
			// The agent has its answers; the supervisor may not have tried yet.
			if line, err := bufio.NewReader(warned).ReadString('\n'); !strings.Contains(line, "audit log takes no records") {
				t.Errorf("warned %q: %v", line, err)
			}
			go io.Copy(io.Discard, warned)
			s.must(s.world.Do(func() error { return os.Remove(filler) }))
			s.write(proceed, "go\n")
			proceed.Close()
			go io.Copy(io.Discard, lines)
			if r := p.Wait(); r.Exit != 0 || !strings.HasSuffix(r.Stdout, "done\n200\n") {
				t.Errorf("got %v", r)
			}
			told, missing := s.requests()
			if told+missing != requests+1 || missing > 0 != lost {
				t.Errorf("%d requests told, %d missing", told, missing)
			}
		})
	}
}

// requests counts those that have a record, and those of which one says that
// they have none.
func (s *stage) requests() (told, missing int) {
	s.Helper()
	for _, r := range s.world.Audit() {
		switch {
		case r.Kind == audit.KindRequest:
			told++
		case r.Reason == audit.ReasonAuditFull:
			missing += int(r.Suppressed)
		}
	}
	return told, missing
}

// fill writes a file as large as it can be.
func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	block := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(block)
	}
	if !strings.HasSuffix(err.Error(), unix.ENOSPC.Error()) {
		return err
	}
	return nil
}

// until reads up to a line and returns what came before it.
func (s *stage) until(lines *bufio.Reader, last string) string {
	s.Helper()
	var before strings.Builder
	for {
		line, err := lines.ReadString('\n')
		if line == last {
			return before.String()
		}
		if err != nil {
			s.Fatalf("after %q and %q: %v", before.String(), line, err)
		}
		before.WriteString(line)
	}
}

func (s *stage) write(to io.Writer, text string) {
	s.Helper()
	_, err := io.WriteString(to, text)
	s.must(err)
}

// TestO10EveryRequestHasOneRecord makes requests of both versions of HTTP at a
// time, some of which are refused: each has one record, and what was allowed is
// what came upstream.
func TestO10EveryRequestHasOneRecord(t *testing.T) {
	s := newStage(t, attempt(t))
	const script = `for version in --http1.1 --http2; do
curl -sS $version -o /dev/null 'https://` + name + `/{read'$version'}[1-40]' &
curl -sS $version -o /dev/null -d x 'https://` + name + `/{write'$version'}[1-40]' &
wait; done`
	if r := s.world.Run(rig.Session{Policy: s.policy(""), Args: []string{"sh", "-c", script}}); r.Exit != 0 || r.Stderr != "" {
		t.Fatalf("got %v\n%+v", r, s.world.Audit())
	}
	records, came := make(map[string]int), make(map[string]int)
	for _, r := range s.world.Audit() {
		if r.Kind == audit.KindRequest {
			records[string(r.Verdict)+" "+r.Path]++
		}
	}
	for _, e := range s.upstream.Exchanges(name) {
		came[e.Target]++
	}
	for _, version := range []string{"--http1.1", "--http2"} {
		for i := range 40 {
			read, write := fmt.Sprint("/read", version, i+1), fmt.Sprint("/write", version, i+1)
			if records["allow "+read] != 1 || records["deny "+write] != 1 || came[read] != 1 || came[write] != 0 {
				t.Errorf("%s: %d records, %d upstream; %s: %d, %d", read, records["allow "+read], came[read], write, records["deny "+write], came[write])
			}
		}
	}
	if len(records) != 160 || len(came) != 80 {
		t.Errorf("%d kinds of records, %d of requests", len(records), len(came))
	}
}

// TestRotatedLogIsWhole moves the log away while requests are made, again and
// again: each has its record, in one file or the next, and the chain goes on.
func TestRotatedLogIsWhole(t *testing.T) {
	const rounds, requests = 5, 20
	s := newStage(t, attempt(t))
	const script = `for round in 1 2 3 4 5; do
curl -sS -o /dev/null 'https://` + name + `/[1-20]'; echo done; read -r _; done`
	said, says := io.Pipe()
	t.Cleanup(func() { said.Close() })
	wait, proceed := io.Pipe()
	p := s.world.Start(rig.Session{Policy: s.policy(""), Args: []string{"sh", "-c", script}, Stdin: wait, Stdout: says})
	lines := bufio.NewReader(said)
	files := make([]string, rounds)
	for i := range files {
		s.until(lines, "done\n")
		files[i] = fmt.Sprint(rig.AuditLog, ".", i)
		s.must(s.world.Do(func() error { return moveLog(files[i]) }))
		s.write(proceed, "go\n")
	}
	proceed.Close()
	go io.Copy(io.Discard, lines)
	if r := p.Wait(); r.Exit != 0 {
		t.Errorf("got %v", r)
	}
	var whole []byte
	for _, file := range append(files, rig.AuditLog) {
		whole = append(whole, s.world.Read(file)...)
	}
	if err := audit.Verify(bytes.NewReader(whole)); err != nil {
		t.Error(err)
	}
	if n := bytes.Count(whole, []byte(`"kind":"request"`)); n != rounds*requests {
		t.Errorf("%d records of %d requests", n, rounds*requests)
	}
}

// moveLog renames the log. Records of requests that are answered may be on their
// way, and the file with them.
func moveLog(to string) error {
	for {
		if err := os.Rename(rig.AuditLog, to); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
}

// TestFloodOfRefusalsIsCounted repeats a refused request: the log does not grow
// with it, and none is forgotten.
func TestFloodOfRefusalsIsCounted(t *testing.T) {
	s := newStage(t, attempt(t))
	r := s.world.Run(rig.Session{Policy: s.policy(""), Args: []string{
		"curl", "-sS", "-o", "/dev/null", "-X", "POST", "-w", "%{http_code}\n", "https://" + name + "/[1-1000]",
	}})
	if r.Exit != 0 || r.Stdout != strings.Repeat("403\n", 1000) {
		t.Errorf("got %v", r)
	}
	records, refusals := 0, 0
	for _, r := range s.world.Audit() {
		if r.Kind == audit.KindRequest && r.Reason == audit.ReasonMethodNotAllowed {
			records++
			refusals += 1 + int(r.Suppressed)
		}
	}
	if refusals != 1000 || records > 500 {
		t.Errorf("%d refusals in %d records", refusals, records)
	}
}
