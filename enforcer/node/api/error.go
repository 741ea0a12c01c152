// SPDX-License-Identifier: Apache-2.0

package api

import (
	"errors"
	"net/http"
)

// Codes of errors: a closed list.
const (
	CodeInvalid       = "invalid"        // the request is not one
	CodeUnknownPolicy = "unknown_policy" // no policy of that name, or it is broken
	CodeHostNetwork   = "host_network"   // the namespace is the host's
	CodeNotNamespace  = "not_namespace"  // the path leads to no network namespace
	CodeExists        = "exists"         // attached already, or being attached
	CodeNotFound      = "not_found"      // no such attachment or session
	CodeUnfenced      = "unfenced"       // a link has no host's side, and that was not accepted
	CodeUnsupported   = "unsupported"    // this kernel or link cannot be fenced
	CodeDenied        = "denied"         // the caller may not ask for it
	CodeBusy          = "busy"           // the daemon is starting, ending or full: try again later
	CodeBroken        = "broken"         // Check: a mechanism is not in force
	CodeInternal      = "internal"
)

var statuses = map[string]int{
	CodeInvalid: http.StatusBadRequest, CodeUnknownPolicy: http.StatusUnprocessableEntity,
	CodeHostNetwork: http.StatusUnprocessableEntity, CodeNotNamespace: http.StatusUnprocessableEntity,
	CodeExists: http.StatusConflict, CodeNotFound: http.StatusNotFound,
	CodeUnfenced: http.StatusUnprocessableEntity, CodeUnsupported: http.StatusUnprocessableEntity,
	CodeDenied: http.StatusForbidden, CodeBusy: http.StatusServiceUnavailable,
	CodeBroken: http.StatusConflict, CodeInternal: http.StatusInternalServerError,
}

// Error is why something was not done.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"` // what to do next, one line
}

func (e *Error) Error() string { return e.Message }

// Status is the HTTP status that goes with the code.
func (e *Error) Status() int {
	if s, ok := statuses[e.Code]; ok {
		return s
	}
	return http.StatusInternalServerError
}

// Code returns the code of an error of this package, "" for any other.
func Code(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}

// ErrUnreachable is a daemon that does not answer: not running, or not yet.
// Nothing is known of what it did with a request that it may have read.
var ErrUnreachable = errors.New("the node's daemon does not answer")
