// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
)

// conf is a configuration of the plugin, and what the runtime puts into it.
type conf struct {
	Version string // of the protocol
	Network string

	Policy   string // fixed, or
	From     source // asked of the container,
	Default  string // with what counts when it says nothing
	Exempt   []string
	Socket   string // of the daemon; empty is the usual one
	Unfenced bool   // a link without a host's side is accepted

	annotations map[string]string
	labels      map[string]string
	previous    json.RawMessage // prevResult as it came, or nil
	valid       *[]types.GCAttachment
}

// source says what of a container names its policy: one of the two, or
// nothing.
type source struct {
	Annotation string
	Label      string
}

// annotations is the capability by which containerd and CRI-O hand the
// annotations of a pod on. None has one for labels: these are read where the
// protocol's conventions have a place for them, args.cni.labels.
const annotations = "io.kubernetes.cri.pod-annotations"

// deny stands for no policy: no credential and no way out.
const deny = "deny"

// parseConf reads a configuration strictly: a key without a mechanism behind
// it is an error.
func parseConf(input []byte) (*conf, error) {
	var o object
	if err := json.Unmarshal(input, &o); err != nil {
		return nil, types.NewError(types.ErrDecodingFailure, "decode configuration", err.Error())
	}
	c := new(conf)
	if err := c.takeProtocol(o); err != nil {
		return nil, err
	}
	if err := c.takeOwn(o); err != nil {
		return nil, err
	}
	if err := o.done(""); err != nil {
		return nil, err
	}
	return c, c.validate()
}

// takeProtocol takes what the specification defines for every plugin. Of the
// keys that are only well known there, ipam, dns and ipMasq, nothing here
// makes anything true, unless they are empty.
func (c *conf) takeProtocol(o object) error {
	if raw := o["prevResult"]; !isEmpty(raw) {
		c.previous = raw
	}
	var runtime, arguments object
	if err := o.take(
		field{"cniVersion", &c.Version}, field{"name", &c.Network}, field{"runtimeConfig", &runtime}, field{"args", &arguments},
	); err != nil {
		return err
	}
	if err := c.takeValid(o); err != nil {
		return err
	}
	for key, raw := range o {
		reserved := key == "type" || key == "capabilities" || key == "cniVersions" || key == "prevResult" || strings.HasPrefix(key, "cni.dev/")
		if reserved || isEmpty(raw) && (key == "ipam" || key == "dns") {
			delete(o, key)
		}
	}
	if err := c.takeLabels(arguments); err != nil {
		return err
	}
	if err := runtime.take(field{annotations, &c.annotations}); err != nil {
		return err
	}
	// A port that the runtime was promised, say, would not be published.
	return runtime.done("runtimeConfig.")
}

// takeValid takes the attachments that GC is to leave. The second name is what
// the specification said first, and what libcni 1.2 sends alone.
func (c *conf) takeValid(o object) error {
	for _, key := range []string{"cni.dev/valid-attachments", "cni.dev/attachments"} {
		if _, given := o[key]; given && c.valid == nil {
			c.valid = new([]types.GCAttachment)
			if err := o.take(field{key, c.valid}); err != nil {
				return err
			}
		}
	}
	return nil
}

// takeLabels reads the labels among the arguments, which are optional by
// convention: the rest is left to whom it is for.
func (c *conf) takeLabels(arguments object) error {
	var said struct {
		Labels []struct {
			Key   string `json:"key"`
			Value string `json:"value"`
		} `json:"labels"`
	}
	if err := arguments.take(field{"cni", &said}); err != nil {
		return err
	}
	c.labels = make(map[string]string, len(said.Labels))
	for _, l := range said.Labels {
		if _, twice := c.labels[l.Key]; twice {
			return invalid("label %.80q is given twice", l.Key)
		}
		c.labels[l.Key] = l.Value
	}
	return nil
}

// takeOwn takes this plugin's keys.
func (c *conf) takeOwn(o object) error {
	var from, exempt object
	var unfenced string
	if err := o.take(
		field{"policy", &c.Policy}, field{"policyFrom", &from}, field{"default", &c.Default}, field{"exempt", &exempt},
		field{"socket", &c.Socket}, field{"unfencedLink", &unfenced},
	); err != nil {
		return err
	}
	if err := from.take(field{"annotation", &c.From.Annotation}, field{"label", &c.From.Label}); err != nil {
		return err
	}
	if err := from.done("policyFrom."); err != nil {
		return err
	}
	if err := exempt.take(field{"namespaces", &c.Exempt}); err != nil {
		return err
	}
	if unfenced != "" && unfenced != "refuse" && unfenced != "accept" {
		return invalid("unfencedLink is %.80q, which is neither refuse nor accept", unfenced)
	}
	c.Unfenced = unfenced == "accept"
	return exempt.done("exempt.")
}

// maxSocket is what the kernel allows a socket's path (sun_path, with its NUL).
const maxSocket = 107

func (c *conf) validate() error {
	switch {
	case c.Policy != "" && !api.ValidPolicy(c.Policy):
		return invalid("policy is %.80q, which no policy can be called", c.Policy)
	case c.Default != "" && c.Default != deny && !api.ValidPolicy(c.Default):
		return invalid("default is %.80q, which no policy can be called", c.Default)
	case c.From.Annotation != "" && c.From.Label != "":
		return invalid("policyFrom names an annotation and a label: one of them names the policy")
	case c.Policy != "" && (c.From != source{} || c.Default != "" || c.Exempt != nil):
		return invalid("policy is for every container of the network: it goes with none of policyFrom, default and exempt")
	case slices.Contains(c.Exempt, ""):
		return invalid("exempt.namespaces has an empty name")
	}
	return c.validateSocket()
}

func (c *conf) validateSocket() error {
	if c.Socket != "" && (!filepath.IsAbs(c.Socket) || len(c.Socket) > maxSocket || strings.ContainsRune(c.Socket, 0)) {
		return invalid("socket is %.120q, not an absolute path of at most %d bytes", c.Socket, maxSocket)
	}
	return nil
}

func invalid(format string, a ...any) error {
	return types.NewError(types.ErrInvalidNetworkConfig, fmt.Sprintf(format, a...), manual)
}

// socketOf reads of a configuration what it takes to end an attachment. What
// else became wrong with it must not keep a container from ending.
func socketOf(input []byte) (string, error) {
	var o object
	var c conf
	if err := json.Unmarshal(input, &o); err != nil {
		return "", types.NewError(types.ErrDecodingFailure, "decode configuration", err.Error())
	}
	if err := o.take(field{"socket", &c.Socket}); err != nil {
		return "", err
	}
	return c.Socket, c.validateSocket()
}
