// SPDX-License-Identifier: Apache-2.0

//go:build root

package secret

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// nobody is an ordinary uid that every system has.
const nobody = 65534

var asNobody = &syscall.Credential{Uid: nobody, Gid: nobody}

// busConfig is a session bus as desktops have it (the owner alone may connect),
// without activation: a test starts what it wants.
const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=%s</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
`

// desktop is a user's session: a bus, a home, and whatever is started on it.
type desktop struct {
	t    *testing.T
	home string
	bus  string
}

func newDesktop(t *testing.T) *desktop {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("wants root, to become another user")
	}
	// Not t.TempDir, which lies in a directory that is closed to other users.
	home, err := os.MkdirTemp("", "phantom-ns-desktop-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	d := &desktop{t: t, home: home}
	path := filepath.Join(d.home, "bus")
	d.bus = "unix:path=" + path
	config := filepath.Join(d.home, "bus.conf")
	err = errors.Join(os.WriteFile(config, fmt.Appendf(nil, busConfig, path), 0o644),
		os.Mkdir(filepath.Join(d.home, "run"), 0o700),
		os.Chown(filepath.Join(d.home, "run"), nobody, nobody), os.Chown(d.home, nobody, nobody))
	if err != nil {
		t.Fatal(err)
	}
	d.start("", "dbus-daemon", "--config-file="+config, "--nofork", "--nopidfile", "--nosyslog", "--print-address=1")
	return d
}

func (d *desktop) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = d.home
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + d.home, "XDG_RUNTIME_DIR=" + d.home + "/run", "DBUS_SESSION_BUS_ADDRESS=" + d.bus}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: asNobody, Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// start runs a program until the returned stop is called, at the latest at the
// test's end. It returns when the program has printed its first line.
func (d *desktop) start(stdin, name string, args ...string) (stop func()) {
	d.t.Helper()
	cmd := d.command(name, args...)
	if name == awaitStage {
		cmd = d.command("/proc/self/exe")
		cmd.Args = append([]string{awaitStage}, args...)
	}
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	in, inErr := cmd.StdinPipe()
	out, outErr := cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr, cmd.Start()); err != nil {
		d.t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			cmd.Wait()
		}
	}
	d.t.Cleanup(stop)
	in.Write([]byte(stdin))
	if stdin != "" {
		in.Close()
	}
	if name == "gnome-keyring-daemon" {
		return stop // it prints too early: awaited by its bus name
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		stop()
		d.t.Fatalf("%s: %q, %v, %s", name, line, err, &complaint)
	}
	return stop
}

// keyring starts a keyring daemon: with a password it makes or opens the login
// collection, without one everything stays locked.
func (d *desktop) keyring(password string) (stop func()) {
	d.t.Helper()
	args := []string{"--foreground", "--components=secrets", "--control-directory=" + d.home + "/run"}
	if password != "" {
		args = append(args, "--unlock")
	}
	stop = d.start(password, "gnome-keyring-daemon", args...)
	d.start("", awaitStage, d.bus, "await")
	return stop
}

func (d *desktop) store(value canary, service, account string) {
	d.t.Helper()
	cmd := d.command("secret-tool", "store", "--label=phantom-ns test "+account, "service", service, "account", account)
	cmd.Stdin = bytes.NewReader(value)
	if out, err := cmd.CombinedOutput(); err != nil {
		d.t.Fatalf("secret-tool store: %v: %s", err, out)
	}
}

// read is the real helper as the user.
func (d *desktop) read(service, account string, timeout time.Duration) outcome {
	d.t.Helper()
	env := Env{UID: nobody, GID: nobody, User: "nobody", Home: d.home, Bus: d.bus, Timeout: timeout}
	return helper{credential: asNobody}.run(d.t, request(d.t, "secret-service:"+service+"/"+account, env))
}

func TestSecretServiceOfGnomeKeyring(t *testing.T) {
	d, c := newDesktop(t), newCanary(t)
	stop := d.keyring("a login password")
	d.store(c, "api.example", "me")
	d.store(newCanary(t), "api.example", "you")

	o := d.read("api.example", "me", DefaultTimeout)
	if err := errors.Join(o.err, o.factsErr, o.exit); err != nil {
		t.Fatal(err, o.output)
	}
	c.same(t, o.entry.Value)
	d.refused(d.read("api.example", "nobody", DefaultTimeout), c, ErrAbsent)

	// As root the helper does not even try; nor would the bus have it.
	o = helper{}.run(t, request(t, "secret-service:api.example/me", Env{UID: nobody, Bus: d.bus}))
	d.refused(o, c, ErrRoot)

	stop()
	d.refused(d.read("api.example", "me", DefaultTimeout), c, ErrNoService)
	d.locked(c)
}

// locked starts the keyring without its password, as after a login without one.
func (d *desktop) locked(c canary) {
	d.t.Helper()
	stop := d.keyring("")
	began := time.Now()
	d.refused(d.read("api.example", "me", DefaultTimeout), c, ErrLocked)
	if took := time.Since(began); took > DefaultTimeout+grace {
		d.t.Errorf("locked, told after %s", took)
	}
	// A prompter that shows its prompt to no one.
	mute := d.start("", awaitStage, d.bus, "mute")
	began = time.Now()
	o := d.read("api.example", "me", time.Second)
	d.refused(o, c, ErrLocked)
	if took := time.Since(began); took < time.Second || took > 5*time.Second {
		d.t.Errorf("prompted in vain, told after %s", took)
	}
	if !strings.Contains(o.err.Error(), "no one answered its prompt") {
		d.t.Errorf("%v", o.err)
	}
	mute()
	stop()
	d.keyring("a login password")
	o = d.read("api.example", "me", DefaultTimeout)
	if err := errors.Join(o.err, o.exit); err != nil {
		d.t.Fatal(err)
	}
	c.same(d.t, o.entry.Value)
}

func (d *desktop) refused(o outcome, c canary, want error) {
	d.t.Helper()
	var refusal *Refusal
	if !errors.As(o.err, &refusal) || !strings.Contains(refusal.Text, want.Error()) ||
		!strings.Contains(refusal.Text, "secret-service:api.example/") || o.exit != nil {
		d.t.Errorf("%v (%v), want %v", o.err, o.exit, want)
	}
	c.absent(d.t, fmt.Sprint(o.err, o.factsErr, o.output))
}
