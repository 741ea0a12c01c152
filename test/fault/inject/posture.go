// SPDX-License-Identifier: Apache-2.0

//go:build linux && amd64

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// posture describes the agent, which stands at its first instruction, its
// proxy, and the programs that hold it. What it says of mounts and
// programs depends on the machine.
func posture(agent, proxy int) []string {
	var all []string
	for _, key := range append([]string{"Uid", "Gid", "Groups"}, fenced...) {
		all = append(all, fmt.Sprintf("agent %s %s", key, fields(proc(agent, "status"))[key]))
	}
	for _, kind := range []string{"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"} {
		whose := "its own"
		if target(agent, "ns/"+kind) == target(os.Getpid(), "ns/"+kind) {
			whose = "the host's"
		}
		all = append(all, fmt.Sprintf("agent namespace %s %s", kind, whose))
	}
	all = append(all, "agent cores "+cores(agent), "agent folder "+target(agent, "cwd"))
	all = append(all, descriptors(agent)...)
	all = append(all, threads(proxy)...)
	all = append(all, "proxy cores "+cores(proxy))
	group := cgroupOf(agent)
	all = append(all, "agent cgroup "+session.ReplaceAllString(group, "/phantom-ns/ID/"))
	all = append(all, programs(group, agent)...)
	return append(all, mounts(agent)...)
}

var (
	session = regexp.MustCompile(`/phantom-ns/[^/]+/`)
	fenced  = []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters"}
)

func proc(pid int, name string) string { return fmt.Sprintf("/proc/%d/%s", pid, name) }

// fields reads a status file, its values parted by one space.
func fields(path string) map[string]string {
	text, _ := os.ReadFile(path)
	all := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		all[key] = strings.Join(strings.Fields(value), " ")
	}
	return all
}

func target(pid int, name string) string {
	to, err := os.Readlink(proc(pid, name))
	if err != nil {
		return err.Error()
	}
	return to
}

func cores(pid int) string {
	text, _ := os.ReadFile(proc(pid, "limits"))
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "Max core file size"); ok {
			return strings.Join(strings.Fields(rest), " ")
		}
	}
	return "unknown"
}

func descriptors(pid int) []string {
	names, _ := filepath.Glob(proc(pid, "fd/*"))
	var all []string
	for _, name := range names {
		kind, _, _ := strings.Cut(target(pid, "fd/"+filepath.Base(name)), ":[")
		all = append(all, fmt.Sprintf("agent descriptor %s %s", filepath.Base(name), kind))
	}
	slices.Sort(all)
	return all
}

// threads describes all threads of the proxy by what they have in common.
func threads(pid int) []string {
	dirs, _ := filepath.Glob(proc(pid, "task/*"))
	var all []string
	for _, dir := range dirs {
		status := fields(dir + "/status")
		for _, key := range fenced {
			if key != "CapBnd" && status[key] != "" { // no field: it has ended
				all = append(all, fmt.Sprintf("proxy %s %s", key, status[key]))
			}
		}
		if uid := strings.Fields(status["Uid"]); len(uid) == 4 {
			all = append(all, fmt.Sprintf("proxy is root %v", slices.Contains(uid, "0")))
		}
	}
	if len(all) == 0 {
		return []string{"proxy is gone"}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// cgroupOf is the path of a process in the hierarchy of version 2.
func cgroupOf(pid int) string {
	text, _ := os.ReadFile(proc(pid, "cgroup"))
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return path
		}
	}
	return ""
}

// programs asks the kernel what is attached to the cgroup and to the agent's
// network namespace.
func programs(group string, agent int) []string {
	var all []string
	dir, err := os.Open(filepath.Join(cgroup2(), group))
	if err != nil {
		return []string{"program " + err.Error()}
	}
	defer dir.Close()
	for kind := ebpf.AttachCGroupInetIngress; kind <= ebpf.AttachCgroupUnixGetsockname; kind++ {
		result, err := link.QueryPrograms(link.QueryOptions{Target: int(dir.Fd()), Attach: kind})
		if err == nil && len(result.Programs) > 0 {
			all = append(all, fmt.Sprintf("program %v %d", kind, len(result.Programs)))
		}
	}
	ns, err := os.Open(proc(agent, "ns/net"))
	if err != nil {
		return append(all, "program "+err.Error())
	}
	defer ns.Close()
	result, err := link.QueryPrograms(link.QueryOptions{Target: int(ns.Fd()), Attach: ebpf.AttachSkLookup})
	if err != nil {
		return append(all, "program "+err.Error())
	}
	return append(all, fmt.Sprintf("program sk_lookup %d", len(result.Programs)))
}

// cgroup2 is where the hierarchy of version 2 is mounted.
func cgroup2() string {
	for _, m := range readMounts(os.Getpid()) {
		if m.kind == "cgroup2" && m.root == "/" {
			return m.point
		}
	}
	return "/sys/fs/cgroup"
}

type mountPoint struct{ root, point, flags, kind string }

func readMounts(pid int) []mountPoint {
	text, _ := os.ReadFile(proc(pid, "mountinfo"))
	var all []mountPoint
	for line := range strings.Lines(string(text)) {
		place, source, _ := strings.Cut(line, " - ")
		fields, of := strings.Fields(place), strings.Fields(source)
		if len(fields) > 5 && len(of) > 0 {
			all = append(all, mountPoint{fields[3], fields[4], fields[5], of[0]})
		}
	}
	return all
}

// mounts lists where the agent's mounts are, of what kind and with which flags.
// The host's come first, up to one that the host has not.
func mounts(pid int) []string {
	outside := make(map[mountPoint]int)
	for _, m := range readMounts(os.Getpid()) {
		m.flags = ""
		outside[m]++
	}
	var all []string
	for _, m := range readMounts(pid) {
		line := fmt.Sprintf("mount %s %s %s", m.point, m.kind, m.flags)
		m.flags = ""
		if outside[m]--; outside[m] >= 0 {
			line = "host's " + line
		} else {
			clear(outside)
		}
		all = append(all, line)
	}
	return all
}
