// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/bpf"
	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
	"github.com/phantom-ns/phantom-ns/netns"
)

// causes say how an error is told to who asked, by what it wraps; the first
// that fits. Nothing here looks at an error's text.
var causes = []struct {
	is         error
	code, hint string
}{
	{netns.ErrHostNetwork, api.CodeHostNetwork, "a pod with hostNetwork cannot be under a policy"},
	{netns.ErrNotNamespace, api.CodeNotNamespace, ""},
	{fs.ErrNotExist, api.CodeNotNamespace, ""},
	{unix.ENOTDIR, api.CodeNotNamespace, ""},
	{unix.ELOOP, api.CodeNotNamespace, ""},
	{netns.ErrNotEmpty, api.CodeInvalid, "with an interface from another plugin, chain phantom-cni behind it"},
	{netns.ErrNameTaken, api.CodeExists, ""},
	{errNoUplink, api.CodeInvalid, "chain phantom-cni behind the plugin that makes the interface, or let it be the only one"},
	{errUnfenced, api.CodeUnfenced, "use a veth (bridge, ptp), or accept it: \"unfencedLink\": \"accept\""},
	{errForeignPolicy, api.CodeExists, "detach the container first"},
	{errNoPool, api.CodeBusy, ""},
	{context.DeadlineExceeded, api.CodeBusy, ""},
	{context.Canceled, api.CodeBusy, ""},
	{bpf.ErrNotSupported, api.CodeUnsupported, ""},
	{unix.EADDRINUSE, api.CodeExists, "ports 981 and 982 inside are phantom-ns's own; forward: in the policy needs its ports free"},
}

var (
	errNoUplink      = errors.New("the namespace has no interface")
	errUnfenced      = errors.New("the interface has no end on the host where it could be fenced")
	errForeignPolicy = errors.New("the namespace is attached under another policy or in another way")
	errNoPolicy      = errors.New("no such policy")
)

// refusal is how an error is told.
func refusal(err error) *api.Error {
	if told, ok := errors.AsType[*api.Error](err); ok {
		return told
	}
	for _, c := range causes {
		if errors.Is(err, c.is) {
			return &api.Error{Code: c.code, Message: err.Error(), Hint: c.hint}
		}
	}
	return &api.Error{Code: api.CodeInternal, Message: err.Error()}
}

func refuse(code, format string, args ...any) error {
	return &api.Error{Code: code, Message: fmt.Errorf(format, args...).Error()}
}
