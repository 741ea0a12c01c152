// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"path/filepath"
	"syscall"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
)

// order is what one call is about.
type order struct {
	conf       *conf
	choice     choice
	network    *network
	attachment api.Attachment
}

// read takes arguments and configuration of ADD and CHECK apart.
func read(a *skel.CmdArgs) (*order, error) {
	if err := checkNames(a); err != nil {
		return nil, err
	}
	c, err := parseConf(a.StdinData)
	if err != nil {
		return nil, err
	}
	pod, err := podOf(a.Args)
	if err != nil {
		return nil, err
	}
	made, err := c.readPrevious()
	if err != nil {
		return nil, err
	}
	chosen, err := c.choose(pod)
	if err != nil {
		return nil, err
	}
	return &order{conf: c, choice: chosen, network: made, attachment: api.Attachment{
		Container: a.ContainerID, Interface: a.IfName, Namespace: a.Netns, Network: c.Network, Policy: chosen.policy,
		Sealed: made.sealed, Addresses: made.addresses, Unfenced: c.Unfenced && !made.sealed, Pod: pod,
	}}, nil
}

// checkNames checks what skel leaves: how long an id is, which bytes the
// kernel allows an interface, and that a namespace is a path.
func checkNames(a *skel.CmdArgs) error {
	switch {
	case !api.ValidContainer(a.ContainerID):
		return environment("CNI_CONTAINERID", "%.80q cannot be one", a.ContainerID)
	case !api.ValidInterface(a.IfName):
		return environment("CNI_IFNAME", "%.80q cannot be one", a.IfName)
	case !filepath.IsAbs(a.Netns) || len(a.Netns) >= syscall.PathMax:
		return environment("CNI_NETNS", "%.80q is not an absolute path", a.Netns)
	}
	return nil
}

// add makes the session. What it prints is decided here and printed by run,
// when nothing can fail any more.
func (c *call) add(a *skel.CmdArgs) error {
	o, err := read(a)
	if err != nil {
		return err
	}
	if o.choice.exempt {
		if o.network.sealed {
			return invalid("pods of namespace %q are exempt, and no plugin before this one makes them an interface", o.attachment.Pod.Namespace)
		}
		c.result = o.conf.passOn(o.network)
		return nil
	}
	client := api.Dial(o.conf.Socket)
	defer client.Close()
	made, err := client.Attach(c.ctx, o.attachment)
	if err != nil {
		return translate(err)
	}
	if !o.network.sealed {
		c.result = o.conf.passOn(o.network)
		return nil
	}
	c.result, err = o.conf.sealedResult(o.network, a.IfName, a.Netns, made.Addresses)
	return err
}

// check asks the daemon whether everything is in force.
func (c *call) check(a *skel.CmdArgs) error {
	o, err := read(a)
	if err != nil {
		return err
	}
	if o.conf.previous == nil {
		return invalid("prevResult is missing: CHECK compares with what ADD returned")
	}
	if o.choice.exempt {
		return nil
	}
	client := api.Dial(o.conf.Socket)
	defer client.Close()
	return translate(client.Check(c.ctx, o.attachment))
}

// del ends the attachment. No daemon is no reason to keep a container: it ends
// what it holds of dead namespaces when it starts, and until then its hooks
// refuse what they find in living ones.
func (c *call) del(a *skel.CmdArgs) error {
	socket, err := socketOf(a.StdinData)
	if err != nil {
		return err
	}
	if !api.ValidContainer(a.ContainerID) || !api.ValidInterface(a.IfName) {
		return nil // ADD made nothing under such a name
	}
	client := api.Dial(socket)
	defer client.Close()
	err = client.Detach(c.ctx, a.ContainerID, a.IfName)
	if absent(err) || api.Code(err) == api.CodeNotFound {
		return nil
	}
	return translate(err)
}

// absent tells that nobody listens at the socket, from a daemon that is there
// and does not answer: that one may still hold the container.
func absent(err error) bool {
	return errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED)
}

// collect ends what the network's list does not name. No list is not an empty
// one: it would end what every running container has.
func (c *call) collect(a *skel.CmdArgs) error {
	conf, err := parseConf(a.StdinData)
	if err != nil {
		return err
	}
	if conf.valid == nil {
		return invalid("cni.dev/valid-attachments is missing")
	}
	keep := make([]api.Key, 0, len(*conf.valid))
	for _, v := range *conf.valid {
		keep = append(keep, api.Key{Container: v.ContainerID, Interface: v.IfName})
	}
	client := api.Dial(conf.Socket)
	defer client.Close()
	return translate(client.Collect(c.ctx, conf.Network, keep))
}

// status tells whether ADD would find a daemon and, where the configuration
// names one, the policy.
func (c *call) status(a *skel.CmdArgs) error {
	conf, err := parseConf(a.StdinData)
	if err != nil {
		return err
	}
	client := api.Dial(conf.Socket)
	defer client.Close()
	policies, err := client.Policies(c.ctx)
	if err != nil {
		return types.NewError(limitedConnectivity, "the daemon of phantom-ns does not answer: containers are refused", err.Error())
	}
	for _, name := range []string{conf.Policy, conf.Default} {
		if why := unusable(policies, name); why != "" {
			return types.NewError(notAvailable, "policy "+name+" serves nobody", why)
		}
	}
	return nil
}

// unusable says why a policy serves nobody; nothing where it does.
func unusable(policies []api.PolicyInfo, name string) string {
	if name == "" || name == deny || name == api.None {
		return ""
	}
	for _, p := range policies {
		if p.Name == name {
			return p.Error
		}
	}
	return "the node has no policy of that name"
}
