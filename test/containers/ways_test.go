// SPDX-License-Identifier: Apache-2.0

//go:build containers

package containers

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// ways are those of test/escape that go by the network or to the node, by their
// ids; those that change the container's own network come last. What processes
// of one container do to each other is their business. VSOCK is a runtime's
// filter's, and a test asks no hypervisor.
func ways(t *testing.T) []string {
	t.Helper()
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(root, "test/escape/testdata/ways.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var names, last []string
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		switch {
		case len(f) < 2 || f[0][0] != 'R' || strings.Contains(f[1], "vsock"):
		case f[0] == "R6":
			last = append(last, f[1])
		default:
			names = append(names, f[1])
		}
	}
	if len(names) < 150 || len(last) < 40 {
		t.Fatalf("%d and %d ways: the table is not read as it is written", len(names), len(last))
	}
	return slices.Concat(slices.Sorted(maps.Keys(shut)), names, last)
}

// shut is what a container finds of the node, whatever it is root of.
var shut = map[string]string{
	"read_store": "ENOENT", "read_policy": "ENOENT", "read_secret": "ENOENT", "read_audit": "ENOENT",
	"list_policy": "ENOENT", "list_audit": "ENOENT", "list_state": "ENOENT",
	"docker": "connect=ENOENT", "containerd": "connect=ENOENT", "dbus_system": "connect=ENOENT", "control": "connect=ENOENT",
	"bpf_id": "call=EPERM", "bpf_map": "call=EPERM", "bpf_prog": "call=EPERM", "mount_bpf": "mount=EPERM",
	"handle_open": "open=EPERM", "kexec": "call=EPERM", "modules": "call=EPERM", "iopl": "call=EPERM",
}

// host are ways to servers on the host's own addresses.
var host = []string{"host_address", "udp_address"}

// intruder is what container root does with NET_ADMIN and NET_RAW beside the
// ways: whole frames and packets past every socket's hook, then the same
// without the namespace's rules, routes and addresses, and with others.
const intruder = `
import os, socket, struct, subprocess, sys
gateway, target = sys.argv[1], socket.inet_aton("192.0.2.7")
def checksum(b):
    s = sum(struct.unpack("!%dH" % (len(b) // 2), b)); s = (s >> 16) + (s & 0xffff); return ~(s + (s >> 16)) & 0xffff
def packet(source, protocol, payload):
    head = struct.pack("!BBHHHBBH4s4s", 69, 0, 20 + len(payload), 7, 0, 64, protocol, 0, source, target)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload
udp = struct.pack("!HHHH", 5353, 53, 16, 0) + b"escape!!"
syn = struct.pack("!HHIIBBHHH", 4444, 443, 1, 0, 80, 2, 1024, 0, 0)
icmp = b"\x08\x00\xf7\xff\x00\x00\x00\x00"
sent = 0
def everything():
    global sent
    links = [n for _, n in socket.if_nameindex()]
    own = [a.split()[3].split("/")[0] for a in subprocess.run(["ip", "-4", "-o", "addr"], capture_output=True, text=True).stdout.splitlines()]
    for source in own + ["203.0.113.77"]:
        for protocol, payload in (17, udp), (6, syn), (1, icmp), (132, udp):
            whole = packet(socket.inet_aton(source), protocol, payload)
            for link in links:
                try:
                    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind((link, 0x800))
                    s.send(bytes.fromhex(gateway.replace(":", "")) + s.getsockname()[4][:6] + b"\x08\x00" + whole); sent += 1
                except OSError: pass
            try:
                s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW); s.sendto(whole, ("192.0.2.7", 0)); sent += 1
            except OSError: pass
    for kind in socket.SOCK_DGRAM, socket.SOCK_STREAM:
        try:
            s = socket.socket(socket.AF_INET, kind); s.settimeout(0.3); s.connect(("192.0.2.7", 443)); s.send(b"escape"); sent += 1
        except OSError: pass
def ip(*words): subprocess.run(["ip"] + list(words), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
everything()
for family in "-4", "-6":
    ip(family, "route", "flush", "table", "local"); ip(family, "route", "flush", "table", "main"); ip(family, "rule", "flush"); ip(family, "rule", "add", "from", "all", "table", "main")
for _, link in socket.if_nameindex():
    ip("route", "add", "default", "dev", link); ip("-6", "route", "add", "default", "dev", link); ip("link", "set", link, "arp", "off")
everything()
# Rules of nf_tables, by the messages that delete every table (NFT_MSG_DELTABLE without a name).
n = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
def message(kind, flags, body): return struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 0) + body
n.send(message(16, 1, struct.pack("!BBH", 0, 0, 10)) + message(0xa02, 5, struct.pack("!BBH", 0, 0, 0)) + message(17, 1, struct.pack("!BBH", 0, 0, 10)))
everything()
ip("link", "add", "v0", "type", "veth", "peer", "name", "v1"); ip("link", "set", "v0", "up"); ip("link", "set", "v1", "up")
ip("link", "add", "link", "eth0", "name", "m0", "type", "macvlan"); ip("link", "set", "m0", "up"); ip("addr", "add", "203.0.113.77/24", "dev", "m0")
everything()
print("sent", sent)
`

// outside is everything beyond a container's own link: the host's way out, and
// the bridges. What a link of a container carries has not left it: the filter
// is at its end.
func (n *node) outside(bridges ...string) func(rig.Packet) bool {
	n.t.Helper()
	links := map[int]bool{}
	n.do(func() error {
		for _, name := range append(bridges, rig.Outside) {
			link, err := net.InterfaceByName(name)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			links[link.Index] = true
		}
		return nil
	})
	return func(p rig.Packet) bool { return !links[p.Interface] }
}

// escaped is everything that containers sent of themselves: what the host asks
// of them, and neighbours' resolution, is not.
func escaped(packets []rig.Packet) []rig.Packet {
	theirs := func(a netip.Addr) bool {
		for _, e := range engines {
			if e.subnet.Contains(a) && a != e.gateway {
				return true
			}
		}
		return a.String() == "203.0.113.77"
	}
	var list []rig.Packet
	for _, p := range packets {
		if p.Ethertype != unix.ETH_P_ARP && (p.Dst.Addr().String() == "192.0.2.7" || theirs(p.Src.Addr())) {
			list = append(list, p)
		}
	}
	return list
}

// bell counts who comes to the host's own address.
func (n *node) bell() (address string, visits *atomic.Int32) {
	n.t.Helper()
	visits = new(atomic.Int32)
	l, err := n.Listen("tcp", rig.Addr4.Addr().String()+":0")
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			visits.Add(1)
			c.Close()
		}
	}()
	return l.Addr().String(), visits
}

// intrude lets a container try everything as root.
func (n *node) intrude(e engine, p place, address string, ways []string) {
	n.t.Helper()
	var links []struct{ Address string }
	if err := json.Unmarshal([]byte(n.run("ip", "-j", "link", "show", e.bridge)), &links); err != nil {
		n.t.Fatal(err)
	}
	facts := "name=api.openai.com address=" + address + " loopback=" + address + " udp_address=" + address + " udp=" + address +
		" address6=[2001:db8:1::2]:443 pid=1 shm=0 tmp_file=/none run_file=/none unix_below=/none unix_work=/none"
	flags := append(e.mount(n.scratch+"/attempt", "/attempt"), "--cap-add", "CAP_NET_RAW",
		"--env", "INTRUDER="+intruder, "--env", "GATEWAY="+links[0].Address)
	if p.policy == "" || !e.told {
		flags = append(flags, "--cap-add", "CAP_NET_ADMIN")
	}
	script := `"$@"; python3 -c "$INTRUDER" "$GATEWAY"`
	out := n.run(e.start(n, p, flags, append([]string{"sh", "-c", script, "sh", "/attempt", "all", facts}, ways...)...)...)
	if !strings.Contains(out, "\nsent ") || strings.Contains(out, "sent 0") {
		n.t.Errorf("the intruder did not come to its end:\n%s", out)
	}
	out = strings.ReplaceAll(out, "call=ENOSYS", "call=EPERM") // of a kernel that is built without
	for name, want := range shut {
		if slices.Contains(ways, name) && !strings.Contains("\n"+out, "\n"+name+" "+want+"\n") {
			n.t.Errorf("%s is not %s", name, want)
		}
	}
	if n.t.Failed() {
		n.t.Log(out)
	}
}

// Container root with the network's capabilities finds no way out by its own
// link, whichever engine started it; without us the same containers find many.
func (n *node) testWays(t *testing.T) {
	if err := rig.GoBuild(n.scratch+"/attempt", "./test/escape/attempt"); err != nil {
		t.Fatal(err)
	}
	linked := place{linked: true}
	n.open(linked)
	n.run(engines["podman"].start(n, linked, nil, "true")...) // makes CNI's bridge
	address, bell := n.bell()
	held := append(ways(t), host...)
	free := append([]string{"tcp4", "udp_sendto"}, host...)
	for _, trial := range []struct {
		name string
		place
		ways []string
	}{
		{"not held", linked, free},
		{"chained", place{policy: "coder", linked: true}, held},
		{"sealed", place{policy: "coder"}, held},
	} {
		t.Run(trial.name, func(t *testing.T) {
			n := n.part(t)
			n.open(trial.place)
			bell.Store(0)
			tap := n.Tap(n.outside(dockerBridge, cniBridge))
			n.each(t, func(n *node, _ *testing.T, e engine) { n.intrude(e, trial.place, address, trial.ways) })
			packets, visits := escaped(tap.Stop()), bell.Load()
			switch {
			case trial.policy == "":
				n.leave(packets, visits)
			case len(packets) > 0 || visits > 0:
				t.Errorf("%d packets left, the first %v; %d came to the host", len(packets), packets[:min(3, len(packets))], visits)
			}
		})
	}
}

// leave fails unless containers of every engine left: else the ways are none.
func (n *node) leave(packets []rig.Packet, visits int32) {
	n.t.Helper()
	from := map[netip.Prefix]int{}
	for _, p := range packets {
		for _, e := range engines {
			if e.subnet.Contains(p.Src.Addr()) {
				from[e.subnet]++
			}
		}
	}
	for name, e := range engines {
		if from[e.subnet] < 30 || visits < int32(len(engines)) {
			n.t.Errorf("only %d packets and %d visits from %s: the ways are none", from[e.subnet], visits, name)
		}
	}
}
