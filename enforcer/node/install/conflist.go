// SPDX-License-Identifier: Apache-2.0

package install

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// Plugin is the name of the plugin's file, and its type in a configuration.
const Plugin = "phantom-cni"

// What a network's configuration cannot be.
var (
	ErrNoNetwork = errors.New("there is no network plugin's configuration yet")
	errOld       = errors.New("its cniVersion is below 0.3.1, which has no chains")
	errNoPlugins = errors.New("it names no plugin")
	errNoName    = errors.New("it has no name")
	errThere     = errors.New("phantom-cni is in it already; take it out, or install nothing")
	errEntry     = errors.New("the plugin's entry is no object with \"type\": \"" + Plugin + "\"")
)

// object keeps what it does not know as it was written.
type object map[string]json.RawMessage

func (o object) text(key string) (text string) {
	if json.Unmarshal(o[key], &text) != nil {
		return ""
	}
	return text
}

func checkEntry(entry []byte) error {
	var o object
	if err := json.Unmarshal(entry, &o); err != nil || o.text("type") != Plugin {
		return errEntry
	}
	return nil
}

// chained returns the list that a network's file says with entry at its end:
// what the plugins before it did is then there to be fenced. The name stays, as
// plugins keep what they gave out under it.
func chained(network, entry []byte) ([]byte, error) {
	list, plugins, err := parse(network)
	if err != nil {
		return nil, err
	}
	for _, p := range plugins {
		var o object
		if json.Unmarshal(p, &o) != nil || o.text("type") == "" {
			return nil, errNoPlugins
		}
		if o.text("type") == Plugin {
			return nil, errThere
		}
	}
	if list["plugins"], err = json.Marshal(append(plugins, entry)); err != nil {
		return nil, err
	}
	data, err := json.Marshal(list)
	if err != nil {
		return nil, err
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, data, "", "  "); err != nil {
		return nil, err
	}
	pretty.WriteByte('\n')
	return pretty.Bytes(), nil
}

// parse reads a list, or one plugin's configuration as a list of one.
func parse(network []byte) (object, []json.RawMessage, error) {
	var list object
	if err := json.Unmarshal(network, &list); err != nil {
		return nil, nil, err
	}
	if list == nil || list.text("name") == "" {
		return nil, nil, errNoName
	}
	if !chains(list.text("cniVersion")) {
		return nil, nil, errOld
	}
	raw, isList := list["plugins"]
	if !isList {
		if list.text("type") == "" {
			return nil, nil, errNoPlugins
		}
		return object{"cniVersion": list["cniVersion"], "name": list["name"]}, []json.RawMessage{network}, nil
	}
	var plugins []json.RawMessage
	if err := json.Unmarshal(raw, &plugins); err != nil {
		return nil, nil, err
	}
	if len(plugins) == 0 {
		return nil, nil, errNoPlugins
	}
	return list, plugins, nil
}

// chains tells whether a version of the protocol has what phantom-cni needs.
func chains(version string) bool {
	var numbers []int
	for part := range strings.SplitSeq(version, ".") {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 {
			return false
		}
		numbers = append(numbers, n)
	}
	return len(numbers) == 3 && slices.Compare(numbers, []int{0, 3, 1}) >= 0
}

// isLoopback tells of a file that a runtime passes by for want of a network.
func isLoopback(network []byte) bool {
	_, plugins, err := parse(network)
	if err != nil || len(plugins) != 1 {
		return false
	}
	var o object
	return json.Unmarshal(plugins[0], &o) == nil && o.text("type") == "loopback"
}
