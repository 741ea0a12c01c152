// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
)

// daemon is a node of the bench's own: `phantom-ns serve` with everything that
// it keeps in one directory, and its pins in a bpffs there.
type daemon struct {
	dir    string
	binary string
	cmd    *exec.Cmd
	client *api.Client
}

// startDaemon starts one that has the bench's policy, by the name bench.
func (b *bench) startDaemon() (*daemon, error) {
	d := &daemon{dir: filepath.Join(b.dir, "node"), binary: b.binary}
	for _, name := range []string{"policies", "run", "state", "cdi", "shared", "bpf"} {
		if err := os.MkdirAll(d.path(name), 0o755); err != nil {
			return nil, err
		}
	}
	if err := unix.Mount("bpf", d.path("bpf"), "bpf", 0, "mode=0700"); err != nil {
		return nil, fmt.Errorf("mount bpffs: %w", err)
	}
	policy, err := os.ReadFile(b.policy)
	if err == nil {
		err = os.WriteFile(d.path("policies/bench.yaml"), policy, 0o644)
	}
	if err == nil {
		err = d.start()
	}
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	d.client = api.Dial(d.path("run/node.sock"))
	return d, nil
}

func (d *daemon) path(name string) string { return filepath.Join(d.dir, name) }

func (d *daemon) args(flags ...string) []string {
	return append([]string{
		"serve", "--policies", d.path("policies"), "--state", d.path("state"), "--run", d.path("run"),
		"--cdi", d.path("cdi"), "--shared", d.path("shared"), "--pins", d.path("bpf/phantom-ns"),
	}, flags...)
}

// start returns when the daemon says that it serves.
func (d *daemon) start() error {
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: d.path("notify"), Net: "unixgram"})
	if err != nil {
		return err
	}
	defer os.Remove(d.path("notify"))
	defer notify.Close()
	log, err := os.Create(d.path("log"))
	if err != nil {
		return err
	}
	defer log.Close()
	d.cmd = exec.Command(d.binary, d.args()...)
	d.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+d.path("notify"))
	d.cmd.Stderr = log
	if err := d.cmd.Start(); err != nil {
		return err
	}
	notify.SetReadDeadline(time.Now().Add(30 * time.Second))
	buffer := make([]byte, 4096)
	for {
		n, err := notify.Read(buffer)
		if err != nil {
			said, _ := os.ReadFile(log.Name())
			return fmt.Errorf("start daemon: %w\n%s", err, said)
		}
		if strings.Contains(string(buffer[:n]), "READY=1") {
			return nil
		}
	}
}

// close ends the daemon and takes away what it has in the kernel.
func (d *daemon) close() error {
	if d.client != nil {
		d.client.Close()
	}
	if d.cmd != nil && d.cmd.Process != nil {
		d.cmd.Process.Signal(syscall.SIGTERM)
		d.cmd.Wait()
	}
	var err error
	if out, failed := exec.Command(d.binary, d.args("--uninstall")...).CombinedOutput(); failed != nil {
		err = fmt.Errorf("uninstall daemon: %w\n%s", failed, out)
	}
	return errors.Join(err, unix.Unmount(d.path("bpf"), unix.MNT_DETACH))
}

// attach makes a session of a namespace, sealed, and tells how long that took.
func (d *daemon) attach(ctx context.Context, number int, ns *namespace) (time.Duration, error) {
	began := time.Now()
	_, err := d.client.Attach(ctx, api.Attachment{
		Network: "bench", Container: container(number), Interface: "eth0", Namespace: ns.path(), Policy: "bench", Sealed: true,
	})
	return time.Since(began), err
}

func (d *daemon) detach(ctx context.Context, number int) (time.Duration, error) {
	began := time.Now()
	err := d.client.Detach(ctx, container(number), "eth0")
	return time.Since(began), err
}

func container(number int) string { return fmt.Sprintf("bench%04d", number) }
