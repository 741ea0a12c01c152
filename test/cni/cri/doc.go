// SPDX-License-Identifier: Apache-2.0

// Package cri proves phantom-cni under Kubernetes' runtime interface: a real
// containerd makes pods as a kubelet asks it to, over k8s.io/cri-api, and calls
// the plugin with what it knows of them.
//
// It is a module of its own: the product does not depend on Kubernetes.
package cri
