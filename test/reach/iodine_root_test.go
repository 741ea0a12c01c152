// SPDX-License-Identifier: Apache-2.0

//go:build root

package reach

import (
	"bufio"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/proxy/audit"
	"github.com/phantom-ns/phantom-ns/test/rig"
)

// tunnel is a real DNS tunnel's server (iodined), which is what the host asks
// for names: whatever label leaves the session reaches it.
const (
	tunnelServer = "10.20.30.53"
	tunnelDomain = "t.corp.example"
	tunnelWorks  = "Connection setup complete"
)

// TestR7IodineTunnel runs iodine's client with more than an agent has: root of the
// host, a tunnel device, and only the session's network namespace. Asking the
// session's name server or the tunnel's own by its address, it is never answered,
// and its server hears nothing. Beside the session the same client gets through.
func TestR7IodineTunnel(t *testing.T) {
	n := newNetwork(t, "127.0.0.2:53", "nameserver "+tunnelServer+"\n", map[string]string{"server": tunnelServer})
	server := startTunnel(t, n.World)
	if _, heard := server.dig(t, n.World, nil); !heard {
		t.Fatal("the tunnel does not work outside either")
	}
	stdin, answer := io.Pipe()
	said, stdout := io.Pipe()
	agent := n.Start(rig.Session{
		Policy: "version: 1\negress: [{host: docs.example}]\n",
		Args:   []string{"sh", "-c", "echo begun; read line"}, Stdin: stdin, Stdout: stdout,
	})
	if line, err := bufio.NewReader(said).ReadString('\n'); line != "begun\n" {
		t.Fatalf("%q, %v", line, err)
	}
	inside := []string{"nsenter", "-t", strconv.Itoa(sessionPID(t, n.World)), "-n"}
	for _, asked := range []string{tunnelServer, "127.0.0.1"} {
		said, heard := server.dig(t, n.World, inside, asked)
		if heard || strings.Contains(said, "Version ok") {
			t.Errorf("by %s the tunnel came through: %s", asked, said)
		}
		if !strings.Contains(said, "NXDOMAIN") {
			t.Errorf("by %s the session's stub was not asked: %s", asked, said)
		}
	}
	answer.Close()
	go io.Copy(io.Discard, said)
	agent.Wait()
	if got := n.questions(); len(got) > 0 {
		t.Errorf("the other name server was asked for %q", got)
	}
}

// tunnelEnd is iodined, and the lines of what it heard.
type tunnelEnd struct{ lines chan string }

func startTunnel(t *testing.T, w *rig.World) *tunnelEnd {
	t.Helper()
	out, stderr := io.Pipe()
	end := &tunnelEnd{make(chan string, 4096)}
	ready := make(chan struct{})
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if strings.HasPrefix(lines.Text(), "Listening to dns") {
				close(ready)
			}
			if strings.HasPrefix(lines.Text(), "RX:") {
				end.lines <- lines.Text()
			}
		}
	}()
	t.Cleanup(func() { stderr.Close() })
	w.Program(rig.Session{Root: true, Stderr: stderr, Dir: "/"},
		"iodined", "-f", "-D", "-D", "-c", "-P", "word", "-l", tunnelServer, "172.30.0.1", tunnelDomain)
	<-ready
	return end
}

// dig runs the client to its end, or until it has a tunnel, and says what it
// printed and whether the server heard a word of it.
func (end *tunnelEnd) dig(t *testing.T, w *rig.World, under []string, asked ...string) (printed string, heard bool) {
	t.Helper()
	out, stderr := io.Pipe()
	words := append(append([]string{}, under...), "timeout", "20", "iodine", "-f", "-r", "-T", "TXT", "-O", "base32", "-L", "0", "-m", "200", "-P", "word")
	words = append(append(words, asked...), tunnelDomain)
	client := w.Program(rig.Session{Root: true, Stderr: stderr, Dir: "/"}, words[0], words[1:]...)
	read := make(chan string, 1)
	go func() {
		var all strings.Builder
		for lines := bufio.NewScanner(out); lines.Scan(); {
			all.WriteString(lines.Text() + "\n")
			if strings.HasPrefix(lines.Text(), tunnelWorks) {
				client.Process.Signal(os.Interrupt)
			}
		}
		read <- all.String()
	}()
	client.Wait()
	stderr.Close()
	printed = <-read
	for {
		select {
		case <-end.lines:
			heard = true
		default:
			return printed, heard
		}
	}
}

// sessionPID is a process of the session that runs.
func sessionPID(t *testing.T, w *rig.World) int {
	t.Helper()
	for _, r := range w.Audit() {
		if r.Reason == audit.ReasonSessionStart {
			return int(r.PID)
		}
	}
	t.Fatal("no session began")
	return 0
}
