// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/bpf"
	"github.com/phantom-ns/phantom-ns/enforcer"
	"github.com/phantom-ns/phantom-ns/netns/sandbox/trust"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

const reinstall = "boot the distribution's own kernel, Linux 6.1 or newer"

func (x *examination) kernel() {
	release, err := enforcer.Kernel()
	if err != nil {
		x.fail("kernel", "", err)
		return
	}
	floor, full, err := bpf.Missing()
	switch {
	case err != nil:
		x.fail("kernel", "phantom-ns needs a root that may load BPF programs: not one of a container without CAP_BPF and CAP_NET_ADMIN", err)
	case len(floor) > 0:
		x.fail("kernel", reinstall, floor[0])
	case len(full) > 0:
		x.warn("kernel", "Linux 6.1 or newer tells programs why a socket was refused", "Linux %s, without %s: every refusal is EPERM", release, full[0].Feature)
	default:
		x.ok("kernel", "Linux %s, with every feature", release)
	}
}

func (x *examination) cgroup() {
	path, err := enforcer.Cgroup2Root()
	if err != nil {
		x.fail("cgroup", "", err)
		return
	}
	x.ok("cgroup", "cgroup v2 at %s", path)
}

// seccompActions is seccomp(2)'s list of what a filter may answer.
const seccompActions = "/proc/sys/kernel/seccomp/actions_avail"

func (x *examination) seccomp() {
	have, err := os.ReadFile(seccompActions)
	if err != nil {
		x.fail("seccomp", reinstall, fmt.Errorf("read actions: %w", err))
		return
	}
	for _, action := range []string{"kill_process", "errno", "allow"} {
		if !slices.Contains(strings.Fields(string(have)), action) {
			x.fail("seccomp", reinstall, fmt.Errorf("no action %s", action))
			return
		}
	}
	x.ok("seccomp", "filters can answer and kill")
}

func (x *examination) mounts() {
	kinds, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		x.fail("mounts", "", err)
		return
	}
	if !bytes.Contains(kinds, []byte("\toverlay\n")) {
		x.warn("mounts", "load the module: modprobe overlay", "no overlay: the home folder will be read-only")
		return
	}
	x.ok("mounts", "the home folder can be an overlay")
}

// clockFloor is before this program was written: a clock below it is wrong.
var clockFloor = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func (x *examination) clock() {
	const remedy = "set the clock: timedatectl set-ntp true"
	now := time.Now().UTC()
	if now.Before(clockFloor) {
		x.fail("clock", remedy, fmt.Errorf("it is set to %s: no certificate is valid yet", now.Format(time.DateOnly)))
		return
	}
	var t unix.Timex
	if state, err := unix.Adjtimex(&t); err == nil && state == unix.TIME_ERROR {
		x.warn("clock", remedy, "%s, and nothing keeps it right", now.Format(time.DateTime))
		return
	}
	x.ok("clock", "%s, kept right", now.Format(time.DateTime))
}

func (x *examination) roots() {
	pem, path, err := trust.SystemRoots("/")
	if err != nil {
		x.fail("roots", "install the distribution's package ca-certificates", err)
		return
	}
	x.ok("roots", "%d certificates in %s", bytes.Count(pem, []byte("-----BEGIN CERTIFICATE-----")), path)
}

// nobody is a name that no resolver has (RFC 6761, section 6.4).
const nobody = "phantom-ns-doctor.invalid."

// fakeAddresses is where VPNs and local proxies take addresses for every name
// from.
var fakeAddresses = netip.MustParsePrefix("198.18.0.0/15")

// patience is how long the resolver may take to say that there is no such name.
const patience = 3 * time.Second

func (x *examination) names() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	resolver := net.Resolver{PreferGo: true}
	x.answered(resolver.LookupNetIP(ctx, "ip", nobody))
}

// answered judges what the resolver says of a name that there is not.
func (x *examination) answered(found []netip.Addr, err error) {
	var answer *net.DNSError
	switch {
	case slices.ContainsFunc(found, func(a netip.Addr) bool { return fakeAddresses.Contains(a.Unmap()) }):
		x.warn("names", "say upstream: {networks: [198.18.0.0/15]} in the policy", "the resolver answers with fake addresses, as some VPNs do")
	case len(found) > 0:
		x.warn("names", "ask who runs the network", "the resolver has an address for a name that does not exist: %s", found[0])
	case errors.As(err, &answer) && answer.IsNotFound:
		x.ok("names", "the resolver of /etc/resolv.conf answers")
	default:
		x.warn("names", "look at /etc/resolv.conf; behind a company's proxy, which resolves itself, name it in upstream.proxy", "the resolver does not answer: %v", err)
	}
}

func (x *examination) store() {
	listed, err := secret.NewStore("").List()
	if errors.Is(err, secret.ErrPassphrase) {
		x.ok("store", "locked by a passphrase, which run asks for")
		return
	}
	if err != nil {
		x.fail("store", "", err)
		return
	}
	var names []string
	for _, l := range listed {
		names = append(names, l.Name)
	}
	if len(names) == 0 {
		x.ok("store", "empty; sudo phantom-ns secret set NAME stores a credential")
		return
	}
	x.ok("store", "%s", strings.Join(names, ", "))
}

// policy reads the policy of such a session and asks its sources.
func (x *examination) policy() {
	config := x.Session
	if err := x.Policy(&config); err != nil {
		x.fail("policy", "", err)
		return
	}
	if config.Policy == nil {
		x.ok("policy", "none for everyone; --policy names one for a session")
		return
	}
	x.ok("policy", "%s", config.Policy.Name)
	if proxy := config.Policy.Upstream.Proxy; proxy != "" {
		x.proxy(proxy)
	}
	trials, err := enforcer.TrySources(config)
	if err != nil {
		x.fail("source", "", err)
		return
	}
	for _, t := range trials {
		if t.Err != nil {
			x.fail("source", "look at where the policy has it from, and at who may read that", t.Err)
			continue
		}
		x.ok("source", "%s from %s", t.Name, t.From)
	}
}

// proxy connects to the network's own proxy, and asks it for nothing.
func (x *examination) proxy(address string) {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		x.fail("proxy", "look at upstream.proxy in the policy, and whether this machine is on that network", err)
		return
	}
	conn.Close()
	x.ok("proxy", "%s takes connections", address)
}
