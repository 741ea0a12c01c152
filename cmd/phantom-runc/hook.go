// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
	"github.com/phantom-ns/phantom-ns/enforcer/node/oci"
	"github.com/phantom-ns/phantom-ns/netns"
)

// hookTimeout is what the runtime gives a hook: longer than the daemon's own
// deadline, whose message says more.
const hookTimeout = 40 // seconds

// sealedLink names the attachment of a container without an interface.
const sealedLink = "eth0"

// hookOf describes this program as a hook of a container.
func (e environment) hookOf(c oci.Command, verb string) oci.Hook {
	args := []string{"phantom-runc", hookName, "--policy", c.Own["policy"]}
	if socket := c.Own["socket"]; socket != "" {
		args = append(args, "--socket", socket)
	}
	return oci.Hook{Path: e.self, Args: append(args, verb), Timeout: hookTimeout}
}

// hook attaches or detaches the container whose state is on standard input.
func (e environment) hook(args []string) error {
	flags := flag.NewFlagSet(hookName, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	policy := flags.String("policy", "", "")
	socket := flags.String("socket", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	state, err := oci.ReadState(e.stdin)
	if err != nil {
		return err
	}
	client := api.Dial(*socket)
	defer client.Close()
	switch flags.Arg(0) {
	case "attach":
		return attach(client, state, *policy)
	case "detach":
		return detach(client, state)
	}
	return fmt.Errorf("no such hook: %.40q", flags.Arg(0))
}

// network marks our attachments among those of CNI's networks, which collect
// their own.
const network = "phantom-runc"

func attach(client *api.Client, state oci.State, policy string) error {
	if state.PID <= 0 {
		return errors.New("attach container: the runtime names no process")
	}
	a := api.Attachment{
		Container: state.ID, Interface: sealedLink, Network: network, Namespace: "/proc/" + strconv.Itoa(state.PID) + "/ns/net",
		Policy: policy, Sealed: true,
	}
	uplinks, err := uplinksOf(a.Namespace)
	if err != nil {
		return fmt.Errorf("attach container: %w", err)
	}
	if len(uplinks) > 0 {
		a.Interface, a.Sealed = uplinks[0].Name, false
	}
	if _, err := client.Attach(context.Background(), a); err != nil {
		return fmt.Errorf("attach container: %w", err)
	}
	return nil
}

func uplinksOf(namespace string) ([]netns.Uplink, error) {
	ns, err := netns.Open(namespace)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	return ns.Uplinks()
}

// detach ends what attach made. The container is gone, and with it which of
// both it was.
func detach(client *api.Client, state oci.State) error {
	ctx := context.Background()
	list, err := client.List(ctx)
	if err != nil {
		return fmt.Errorf("detach container: %w", err)
	}
	var errs []error
	for _, a := range list {
		if a.Container != state.ID || a.Network != network {
			continue
		}
		if err := client.Detach(ctx, a.Container, a.Interface); err != nil {
			errs = append(errs, fmt.Errorf("detach container: %w", err))
		}
	}
	return errors.Join(errs...)
}

// report tells an error to whoever reads standard error, and to the runtime's
// client, which looks for it in the log that it named.
func (e environment) report(c oci.Command, err error) int {
	if err == nil {
		return 0
	}
	text := "phantom-runc: " + err.Error()
	fmt.Fprintln(e.stderr, text)
	if c.Log != "" {
		// Where even that fails standard error has it.
		_ = tell(c, text)
	}
	return 1
}

func tell(c oci.Command, text string) error {
	line := []byte(text)
	if c.JSON {
		data, err := json.Marshal(map[string]string{"level": "error", "msg": text, "time": time.Now().UTC().Format(time.RFC3339)})
		if err != nil {
			return err
		}
		line = data
	}
	f, err := os.OpenFile(c.Log, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}
