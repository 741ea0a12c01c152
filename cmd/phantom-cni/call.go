// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	protocol "github.com/containernetworking/cni/pkg/version"
)

// supported are the versions of the protocol from the one in which a chain,
// and so prevResult, is settled (0.3.0 differs from 0.3.1 in a spelling alone,
// and no runtime in use selects it) to the one with STATUS and GC.
var supported = protocol.PluginSupports("0.3.1", "0.4.0", "1.0.0", "1.1.0")

// maxInput is what standard input may have in bytes. Kubernetes lets the
// annotations of a pod have 256 KiB, and each byte of them is six where JSON
// escapes it (\u003c); GC lists 110 bytes for each container of a network. What
// was too long could not be ended either, and would keep its address for ever.
const maxInput = 2<<20 - 1

// about is printed to whoever starts the plugin without a command.
func about() string {
	return "phantom-cni " + version + " asks the daemon of phantom-ns (phantom-ns serve) for a session; see phantom-cni(8)"
}

// run serves one call and returns the exit status. What skel would print is
// printed here: it leaves cniVersion out of errors, and a result must not be
// followed by one.
func run(ctx context.Context, stdin io.Reader, stdout io.Writer) int {
	result, spoken, err := serve(ctx, stdin)
	if err != nil {
		result = encode(failure{spoken, *err})
	}
	if _, werr := stdout.Write(result); werr != nil || err != nil {
		return 1
	}
	return 0
}

// failure is an error as the protocol has it.
type failure struct {
	CNIVersion string `json:"cniVersion"`
	types.Error
}

// encode is for values of types that always encode.
func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return append(data, '\n')
}

// serve returns what to print, and the version of the protocol it is in.
func serve(ctx context.Context, stdin io.Reader) ([]byte, string, *types.Error) {
	command := os.Getenv("CNI_COMMAND")
	if command == "" {
		return nil, protocol.Current(), skel.PluginMainFuncsWithError(skel.CNIFuncs{}, supported, about())
	}
	input, err := io.ReadAll(io.LimitReader(stdin, maxInput+1))
	switch {
	case err != nil:
		return nil, protocol.Current(), types.NewError(types.ErrIOFailure, "read configuration", err.Error())
	case len(input) > maxInput:
		return nil, protocol.Current(), types.NewError(types.ErrInvalidNetworkConfig, "configuration is too long", fmt.Sprintf("%d bytes at most", maxInput))
	}
	spoken := versionOf(input)
	if command == "VERSION" {
		return encode(supportedVersions{spoken, supported.SupportedVersions()}), spoken, nil
	}
	c := &call{ctx: ctx}
	return c.dispatch(input, spoken)
}

// dispatch lets skel check environment and version, and call back.
func (c *call) dispatch(input []byte, spoken string) ([]byte, string, *types.Error) {
	if err := replay(input); err != nil {
		return nil, spoken, types.NewError(types.ErrIOFailure, "hand configuration on", err.Error())
	}
	// The specification makes it optional, skel does not, and nothing here
	// starts another plugin.
	if os.Getenv("CNI_PATH") == "" {
		os.Setenv("CNI_PATH", "/opt/cni/bin")
	}
	err := skel.PluginMainFuncsWithError(skel.CNIFuncs{
		Add: c.add, Check: c.check, Del: c.del, GC: c.collect, Status: c.status,
	}, supported, about())
	return c.result, spoken, err
}

// call is one call of the plugin.
type call struct {
	ctx    context.Context
	result []byte // what ADD has to print
}

// supportedVersions answers VERSION. skel would answer its own version in the
// place of the one that was asked with.
type supportedVersions struct {
	CNIVersion        string   `json:"cniVersion"`
	SupportedVersions []string `json:"supportedVersions"`
}

// versionOf returns the version that the caller speaks, as far as it says one.
func versionOf(input []byte) string {
	var said struct {
		CNIVersion string `json:"cniVersion"`
	}
	if json.Unmarshal(input, &said) != nil {
		return protocol.Current()
	}
	return cmp.Or(said.CNIVersion, protocol.Current())
}

// replay makes bytes that were read, and bounded, the standard input again:
// skel reads that, and without a bound.
func replay(input []byte) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	go func() {
		defer w.Close()
		io.Copy(w, bytes.NewReader(input))
	}()
	os.Stdin = r
	return nil
}
