// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
)

// The types below are what is read of k8s.io/api's, and written. The API server
// writes its objects anew from types of its own before anyone is asked, so what
// is not named here is well-formed, and not this package's business. The module
// would bring in more than the rest of the product has.

const reviewVersion, reviewKind = "admission.k8s.io/v1", "AdmissionReview"

type review struct {
	Version  string    `json:"apiVersion"`
	Kind     string    `json:"kind"`
	Request  *request  `json:"request,omitempty"`
	Response *response `json:"response,omitempty"`
}

type request struct {
	UID         string   `json:"uid"`
	Resource    resource `json:"resource"`
	SubResource string   `json:"subResource"`
	Namespace   string   `json:"namespace"`
	Operation   string   `json:"operation"`
	Object      *pod     `json:"object"`
	Old         *pod     `json:"oldObject"`
}

type resource struct {
	Group    string `json:"group"`
	Version  string `json:"version"`
	Resource string `json:"resource"`
}

type response struct {
	UID       string  `json:"uid"`
	Allowed   bool    `json:"allowed"`
	Status    *status `json:"status,omitempty"`
	PatchType string  `json:"patchType,omitempty"`
	Patch     []byte  `json:"patch,omitempty"` // base64 in JSON, as the API has it
}

type status struct {
	Message string `json:"message"`
	Reason  string `json:"reason"`
	Code    int    `json:"code"`
}

type pod struct {
	Metadata struct {
		Annotations map[string]string `json:"annotations"`
		Labels      map[string]string `json:"labels"`
	} `json:"metadata"`
	Spec podSpec `json:"spec"`
}

type podSpec struct {
	HostNetwork bool        `json:"hostNetwork"`
	HostPID     bool        `json:"hostPID"`
	HostUsers   *bool       `json:"hostUsers"`
	OS          *podOS      `json:"os"`
	Volumes     []volume    `json:"volumes"`
	Init        []container `json:"initContainers"`
	Containers  []container `json:"containers"`
	Ephemeral   []container `json:"ephemeralContainers"`
}

type podOS struct {
	Name string `json:"name"`
}

type volume struct {
	Name     string    `json:"name"`
	HostPath *hostPath `json:"hostPath,omitempty"`
}

type hostPath struct {
	Path string `json:"path"`
	Type string `json:"type,omitempty"`
}

type container struct {
	Name     string           `json:"name"`
	Env      []variable       `json:"env"`
	Mounts   []mount          `json:"volumeMounts"`
	Security *securityContext `json:"securityContext"`
}

type variable struct {
	Name      string          `json:"name"`
	Value     string          `json:"value"`
	ValueFrom json.RawMessage `json:"valueFrom,omitempty"`
}

type mount struct {
	Name     string `json:"name"`
	Path     string `json:"mountPath"`
	ReadOnly bool   `json:"readOnly,omitempty"`
	SubPath  string `json:"subPath,omitempty"`
	SubExpr  string `json:"subPathExpr,omitempty"`
}

type securityContext struct {
	Privileged   *bool `json:"privileged"`
	Capabilities *struct {
		Add []string `json:"add"`
	} `json:"capabilities"`
}

var errReview = errors.New("it is no AdmissionReview of " + reviewVersion + " with a request")

// parseReview reads what the API server asks.
func parseReview(body []byte) (*request, error) {
	var r review
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, fmt.Errorf("decode review: %w", err)
	}
	if r.Version != reviewVersion || r.Kind != reviewKind || r.Request == nil || r.Request.UID == "" {
		return nil, fmt.Errorf("decode review: %w", errReview)
	}
	return r.Request, nil
}

func (r *response) encode() ([]byte, error) {
	return json.Marshal(review{Version: reviewVersion, Kind: reviewKind, Response: r})
}
