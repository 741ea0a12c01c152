// SPDX-License-Identifier: Apache-2.0

//go:build containers

package cri

import (
	"context"
	"slices"
	"strings"
	"testing"
)

const swap = `curl -sS --max-time 20 -H "Authorization: Bearer $OPENAI_API_KEY" https://` + host + `/v1/models`

var underWeb = map[string]string{"phantom-ns.dev/policy": "web", "other": strings.Repeat(`"<&>`, 1000)}

// One containerd for all of it: it takes seconds to begin.
func TestPods(t *testing.T) {
	b := newBed(t)
	t.Run("with an interface", func(t *testing.T) { withInterface(t, b) })
	t.Run("without an interface", func(t *testing.T) { withoutInterface(t, b) })
	t.Run("that do not say", func(t *testing.T) { unsaid(t, b) })
}

// A pod with an interface: its annotation chooses the policy, the swap works
// by the name in the pod's own resolv.conf, probes from the node are answered,
// what goes elsewhere is refused, and nothing is left.
func withInterface(t *testing.T, b *bed) {
	p := b.podOf("web", underWeb)
	if err := p.run(t, "runc"); err != nil {
		t.Fatalf("run sandbox: %v", err)
	}
	p.start(t, "web")
	addresses := p.addresses(t)
	if len(addresses) != 2 {
		t.Fatalf("addresses: %q", addresses)
	}
	if out, exit := p.sh(t, swap); exit != 0 || !strings.Contains(out, b.upstream.Answer) {
		t.Errorf("swap: exit %d %s", exit, out)
	}
	p.listen(t)
	p.probed(t)
	for _, url := range []string{"http://203.0.113.99/", "http://[2001:db8:1::99]/", "http://10.95.0.1/"} {
		if out, exit := p.sh(t, "curl -sS --max-time 10 "+url); exit != 7 {
			t.Errorf("%s: exit %d %s", url, exit, out)
		}
	}
	p.end(t)
	b.holdsNothing(t)
}

// A pod without an interface: containerd and a kubelet see an address, and
// there is one way, to the proxy.
func withoutInterface(t *testing.T, b *bed) {
	p := b.podOf("sealed", underWeb)
	if err := p.run(t, "sealed"); err != nil {
		t.Fatalf("run sandbox: %v", err)
	}
	p.start(t, "web")
	if got, want := p.addresses(t), []string{"198.18.255.1", "fd70:6861:6e74:ffff::1"}; !slices.Equal(got, want) {
		t.Errorf("addresses %q, want %q", got, want)
	}
	if out, exit := p.sh(t, swap); exit != 0 || !strings.Contains(out, b.upstream.Answer) {
		t.Errorf("swap: exit %d %s", exit, out)
	}
	if out, exit := p.sh(t, "curl -sS --max-time 10 http://203.0.113.99/"); exit != 7 {
		t.Errorf("elsewhere: exit %d %s", exit, out)
	}
	if out, _ := p.sh(t, "ip -o link show eth0 | cut -d: -f2"); out != " eth0@phantom-end\n" {
		t.Errorf("eth0 is %q", out)
	}
	p.end(t)
	b.holdsNothing(t)
}

// A pod that names no policy gets no way out; one that names a policy the node
// does not have does not begin, and says why.
func unsaid(t *testing.T, b *bed) {
	silent := b.podOf("silent", nil)
	if err := silent.run(t, "runc"); err != nil {
		t.Fatalf("run sandbox: %v", err)
	}
	silent.start(t, "web") // with another policy's placeholder
	if out, exit := silent.sh(t, swap); exit != 6 {
		t.Errorf("swap: exit %d %s", exit, out)
	}
	wrong := b.podOf("wrong", map[string]string{"phantom-ns.dev/policy": "wbe"})
	if err := wrong.run(t, "runc"); err == nil || !strings.Contains(err.Error(), "wbe") {
		t.Errorf("a policy that is none: %v", err)
	}
	silent.end(t)
	b.holdsNothing(t)
}

// holdsNothing fails when the daemon holds an attachment.
func (b *bed) holdsNothing(t *testing.T) {
	t.Helper()
	client := b.daemon.Client()
	defer client.Close()
	if left, err := client.List(context.Background()); err != nil || len(left) > 0 {
		t.Errorf("held: %+v, %v", left, err)
	}
}
