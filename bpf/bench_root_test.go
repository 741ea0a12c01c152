// SPDX-License-Identifier: Apache-2.0

//go:build root

package bpf

import (
	"math"
	"os"
	"strconv"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// rounds alternate between the two kinds, so that a change of the machine's mood falls on both.
const rounds = 16

// timeConnects makes a connection to a listener of its own and ends it, many times, and prints the nanoseconds of
// processor time: the machine may have other work.
func timeConnects() string {
	n, err := strconv.Atoi(os.Args[1])
	if err != nil {
		return err.Error()
	}
	server, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err.Error()
	}
	at := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	if err := unix.Bind(server, at); err != nil {
		return err.Error()
	}
	if err := unix.Listen(server, 16); err != nil {
		return err.Error()
	}
	name, err := unix.Getsockname(server)
	if err != nil {
		return err.Error()
	}
	before, err := processorTime()
	if err != nil {
		return err.Error()
	}
	for range n {
		if err := exchange(server, name); err != nil {
			return errnoName(err)
		}
	}
	after, err := processorTime()
	if err != nil {
		return err.Error()
	}
	return strconv.FormatInt(after-before, 10)
}

func processorTime() (ns int64, err error) {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return 0, err
	}
	return usage.Utime.Nano() + usage.Stime.Nano(), nil
}

func exchange(server int, name unix.Sockaddr) error {
	client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(client)
	if err := unix.SetsockoptLinger(client, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return err
	}
	if err := unix.Connect(client, name); err != nil {
		return err
	}
	accepted, _, err := unix.Accept(server)
	if err != nil {
		return err
	}
	return unix.Close(accepted)
}

// BenchmarkStranger measures socket(), connect(), accept() and close() of a process that is no session, below a node's
// hooks and without them. ns/op is the former; the ratio is to the latter. Each is the best of its rounds.
func BenchmarkStranger(b *testing.B) {
	r, dir := newNodeRig(b)
	n := strconv.Itoa(max(b.N/rounds, 100))
	run := func() float64 {
		out, _ := r.act("bpf: time connects", n)
		ns, err := strconv.ParseFloat(out, 64)
		require(b, err)
		return ns
	}
	run() // warms up
	hooked, free := math.Inf(1), math.Inf(1)
	for range rounds {
		free = min(free, run())
		r.openNode(dir)
		hooked = min(hooked, run())
		require(b, r.object.RemoveNode())
	}
	count, err := strconv.ParseFloat(n, 64)
	require(b, err)
	b.ReportMetric(hooked/count, "ns/op")
	b.ReportMetric(free/count, "free-ns/op")
	b.ReportMetric(hooked/free, "ratio")
}

// BenchmarkFence measures one packet of a noted flow, each way, and one that is dropped.
func BenchmarkFence(b *testing.B) {
	g := newGate(b)
	flow := tcpIn(peer6, pod6)
	g.passes("syn", g.in(flow.with(syn, 100, 0)))
	g.passes("answer", g.out(flow.reversed().with(syn|ack, 500, 101)))
	for _, c := range []struct {
		name    string
		program *ebpf.Program
		data    []byte
	}{
		{"in", g.object.fence.ToPod, flow.with(ack, 101, 501).bytes()},
		{"out", g.object.fence.FromPod, flow.reversed().with(ack, 501, 101).bytes()},
		{"dropped", g.object.fence.FromPod, udpIn(peer6, pod6).reversed().bytes()},
	} {
		b.Run(c.name, func(b *testing.B) {
			_, each, err := c.program.Benchmark(c.data, max(b.N, 1000), nil)
			require(b, err)
			b.ReportMetric(float64(each.Nanoseconds()), "ns/op")
		})
	}
}
