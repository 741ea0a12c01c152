// SPDX-License-Identifier: Apache-2.0

//go:build root

package sandbox

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns"
)

// The agent of the tests: nobody's ids, by number.
const (
	testUID = 31001
	testGID = 31002
)

// TestMain is also init, the agent and a supervisor: the test binary runs
// itself again.
func TestMain(m *testing.M) {
	switch name := os.Args[0]; {
	case name == InitStage:
		runTestInit()
	case name == LeaderStage:
		LeaderMain()
	case name == "supervisor", os.Getenv("SUPERVISE") != "":
		os.Exit(superviseTest())
	case strings.HasPrefix(name, "agent:"):
		os.Exit(runTestAgent(strings.TrimPrefix(name, "agent:")))
	}
	os.Exit(m.Run())
}

// runTestInit is Main. An executable whose name ends in "-at-STAGE" fails in
// that stage.
func runTestInit() {
	name, err := os.Executable()
	if err != nil {
		os.Exit(2)
	}
	_, at, injected := strings.Cut(filepath.Base(name), "-at-")
	if !injected {
		Main()
	}
	all := steps()
	for i, s := range all {
		if s.stage.String() == at {
			all[i].do = func(*pid1) error { return fmt.Errorf("break %s: %w", at, unix.EIO) }
		}
	}
	os.Exit(runInit(all))
}

// rig is one session of a test.
type rig struct {
	t         *testing.T
	config    Config
	launch    Launch
	child     *Child
	listeners *Listeners
	home      string // the agent's, and dir its working directory
	dir       string
	output    *capture
}

// newRig makes everything that a session needs; tests change it before start.
func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, output: newCapture(t)}
	r.home = folder(t, "home")
	r.dir = filepath.Join(r.home, "work")
	must(t, os.Mkdir(r.dir, 0o755))
	must(t, os.Chown(r.dir, testUID, testGID))
	ns, err := netns.New()
	must(t, err)
	t.Cleanup(func() { must(t, ns.Close()) })
	r.config = Config{
		Cgroup: leaf(t), Namespace: ns, Stdout: r.output.in, Stderr: r.output.in,
		Spec: Spec{
			User: User{Name: "agent", Home: r.home, Shell: "/bin/sh", UID: testUID, GID: testGID, Groups: []int{31004, 31003}},
			Dir:  r.dir, IPv6: ns.HasIPv6(), Expose: []string{self(t)},
		},
	}
	r.launch = Launch{
		Env: []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + r.home}, CA: testCA(t),
		Hosts: []byte("127.0.0.1 localhost\n"), ResolvConf: []byte("nameserver 198.18.255.1\n"),
		Nsswitch: []byte("hosts: files dns\n"),
	}
	return r
}

// start runs the session up to the agent's execution.
func (r *rig) start(argv ...string) error {
	r.t.Helper()
	var err error
	if r.child, err = Start(r.t.Context(), r.config); err != nil {
		return err
	}
	r.t.Cleanup(func() { must(r.t, r.child.Close()) })
	if r.listeners, err = r.child.Listeners(); err != nil {
		return err
	}
	r.t.Cleanup(func() { must(r.t, r.listeners.Close()) })
	r.launch.Argv = argv
	return r.child.Launch(r.launch)
}

// run runs the agent to its end and returns what it wrote.
func (r *rig) run(argv ...string) (string, Status) {
	r.t.Helper()
	must(r.t, r.start(argv...))
	status, err := r.child.Wait()
	must(r.t, err)
	return r.output.end(), status
}

// agent runs the test's own agent, by name, with arguments.
func (r *rig) agent(name string, arguments ...string) string {
	r.t.Helper()
	r.launch.Path = self(r.t)
	text, status := r.run(append([]string{"agent:" + name}, arguments...)...)
	if status != (Status{}) {
		r.t.Fatalf("agent %s ended with %+v: %s", name, status, text)
	}
	return text
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// folder makes a folder of the agent's, outside the test's own, which only root
// may enter.
func folder(t *testing.T, name string) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/cache", "phantom-ns-"+name+"-")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	must(t, errors.Join(os.Chmod(dir, 0o755), os.Chown(dir, testUID, testGID)))
	return dir
}

// self is the test binary.
func self(t *testing.T) string {
	t.Helper()
	name, err := os.Executable()
	must(t, err)
	return name
}

// leaf makes a cgroup and opens it.
func leaf(t *testing.T) *os.File {
	t.Helper()
	dir, err := os.MkdirTemp(cgroupRoot(t), "phantom-ns-test-")
	must(t, err)
	file, err := os.Open(dir)
	must(t, err)
	t.Cleanup(func() { must(t, errors.Join(file.Close(), os.Remove(dir))) })
	return file
}

func cgroupRoot(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, " - cgroup2 ") {
			return strings.Fields(line)[4]
		}
	}
	t.Fatal("no cgroup v2")
	return ""
}

// capture collects what is written to a pipe.
type capture struct {
	t    *testing.T
	in   *os.File
	text strings.Builder
	done sync.WaitGroup
}

func newCapture(t *testing.T) *capture {
	t.Helper()
	out, in, err := os.Pipe()
	must(t, err)
	c := &capture{t: t, in: in}
	c.done.Go(func() { io.Copy(&c.text, out) })
	t.Cleanup(func() { c.end(); out.Close() })
	return c
}

// end is everything that was written, when no process holds the pipe.
func (c *capture) end() string {
	c.in.Close()
	c.done.Wait()
	return c.text.String()
}

var testCA = func() func(*testing.T) []byte {
	var once sync.Once
	var text []byte
	return func(t *testing.T) []byte {
		once.Do(func() { text = newTestCA(t) })
		return text
	}
}()

func newTestCA(t *testing.T) []byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// runTestAgent is the agent's side of the tests.
func runTestAgent(name string) int {
	do, found := testAgents[name]
	if !found {
		return 125
	}
	if err := do(os.Args[1:]); err != nil {
		fmt.Println("agent:", err)
		return 1
	}
	return 0
}
