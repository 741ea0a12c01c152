// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
)

// Codes that the library has no names for: STATUS's own, and this plugin's
// (100 and above are a plugin's to give).
const (
	notAvailable        uint = 50
	limitedConnectivity uint = 51

	attachedAlready uint = 100
	linkUnfenced    uint = 101
	unsupported     uint = 102
	denied          uint = 103
	broken          uint = 104
)

// codes are the protocol's for the daemon's.
var codes = map[string]uint{
	api.CodeInvalid:       types.ErrInvalidNetworkConfig,
	api.CodeUnknownPolicy: types.ErrInvalidNetworkConfig,
	api.CodeHostNetwork:   types.ErrInvalidEnvironmentVariables,
	api.CodeNotNamespace:  types.ErrInvalidEnvironmentVariables,
	api.CodeNotFound:      types.ErrUnknownContainer,
	api.CodeBusy:          types.ErrTryAgainLater,
	api.CodeExists:        attachedAlready,
	api.CodeUnfenced:      linkUnfenced,
	api.CodeUnsupported:   unsupported,
	api.CodeDenied:        denied,
	api.CodeBroken:        broken,
	api.CodeInternal:      types.ErrInternal,
}

// translate makes the protocol's error of what the daemon answered, or of its
// silence, which may end.
func translate(err error) error {
	refused, ok := errors.AsType[*api.Error](err)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, api.ErrUnreachable):
		return types.NewError(types.ErrTryAgainLater, err.Error(), "start it: systemctl start phantom-ns, or look at its DaemonSet")
	case !ok:
		return types.NewError(types.ErrInternal, err.Error(), "")
	}
	code, known := codes[refused.Code]
	if !known {
		code = types.ErrInternal
	}
	message := refused.Message
	if code == types.ErrInvalidEnvironmentVariables {
		message = "CNI_NETNS: " + message
	}
	return types.NewError(code, message, refused.Hint)
}
