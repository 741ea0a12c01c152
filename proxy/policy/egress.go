// SPDX-License-Identifier: Apache-2.0

package policy

const (
	portHTTP  = 80
	portHTTPS = 443
)

// egressKeys are the keys of one entry of egress.
var egressKeys = keys[Egress]{
	"host": func(r *reader, n *node, e *Egress) (err error) {
		e.Host, err = r.pattern(n)
		return err
	},
	"address": func(r *reader, n *node, e *Egress) (err error) {
		e.Address, err = r.destination(n)
		return err
	},
	"port": func(r *reader, n *node, e *Egress) (err error) {
		e.Port, err = r.port(n, "egress.port")
		return err
	},
	"protocol": func(r *reader, n *node, e *Egress) error {
		text, err := r.choice(n, "egress.protocol", string(HTTPS), string(HTTP), string(TCP))
		e.Protocol = Protocol(text)
		return err
	},
	"tls": func(r *reader, n *node, e *Egress) error {
		text, err := r.choice(n, "egress.tls", "inspect", "passthrough")
		e.Passthrough = text == "passthrough"
		return err
	},
	"allow": func(r *reader, n *node, e *Egress) (err error) {
		e.Allow, err = readList(r, n, "egress.allow", (*reader).allow)
		return err
	},
	"foreign_credentials": func(r *reader, n *node, e *Egress) error {
		text, err := r.choice(n, "egress.foreign_credentials", "deny", "allow")
		e.Foreign = text == "allow"
		return err
	},
	"networks": func(r *reader, n *node, e *Egress) (err error) {
		e.Networks, err = readList(r, n, "egress.networks", (*reader).network)
		return err
	},
	"approve": func(r *reader, n *node, _ *Egress) error {
		_, err := r.choice(n, "egress.approve", "never", "ask")
		return err
	},
}

func readEgressList(r *reader, n *node, f *File) (err error) {
	type place struct {
		where string
		port  uint16
	}
	first := make(map[place]string)
	f.Egress, err = readList(r, n, "egress", func(r *reader, n *node) (Egress, error) {
		e := Egress{Port: portHTTPS, Protocol: HTTPS, Rule: r.rule(n)}
		given, err := readMap(r, n, "egress", egressKeys, &e)
		if err != nil {
			return e, err
		}
		at := place{e.Host, e.Port}
		if e.Host == "" {
			at.where = e.Address.String()
		}
		if rule, twice := first[at]; twice {
			return e, r.fail(n, "egress: the same host and port as at %s", rule)
		}
		first[at] = e.Rule
		if given["allow"] == nil && e.inspected() {
			e.Allow = reads(e.Rule)
		}
		return e, r.checkEgress(n, given, &e)
	})
	return err
}

// inspected reports whether requests of the entry are seen one by one.
func (e *Egress) inspected() bool { return e.Protocol != TCP && !e.Passthrough }

// checkEgress refuses what contradicts itself: a key that would have no effect
// is not accepted.
func (r *reader) checkEgress(n *node, given map[string]*node, e *Egress) error {
	switch {
	case (given["host"] == nil) == (given["address"] == nil):
		return r.fail(n, "egress: want host or address, one of them")
	case given["address"] != nil && e.Protocol != TCP:
		return r.fail(n, "egress.address: there is no name to verify, so say protocol: tcp; or declare a host")
	case given["address"] != nil && given["networks"] != nil:
		return r.fail(given["networks"], "egress.networks: an address is its own allowance")
	case e.Port == portHTTP && e.Protocol != HTTP:
		return r.fail(n, "egress.port: port 80 is for protocol: http alone")
	case given["tls"] != nil && e.Protocol != HTTPS:
		return r.fail(given["tls"], "egress.tls: only protocol: https has it")
	case given["allow"] != nil && !e.inspected():
		return r.fail(given["allow"], "egress.allow: has no effect where requests are not seen (tcp, passthrough)")
	case given["foreign_credentials"] != nil && !e.inspected():
		return r.fail(given["foreign_credentials"], "egress.foreign_credentials: has no effect where requests are not seen (tcp, passthrough)")
	}
	return nil
}
