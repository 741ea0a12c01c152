// SPDX-License-Identifier: Apache-2.0

// Package webhook is the mutating admission webhook of a cluster: pods that name
// a policy are given what makes clients trust the node's proxy, and
// placeholders.
//
//	apiVersion: v1
//	kind: Pod
//	metadata:
//	  annotations: {phantom-ns.dev/policy: coder}
//
// It guarantees:
//
//   - A pod gets a policy only in a namespace to which the policy was granted by
//     who runs the cluster, in a file that no user of it can write. Changes of what
//     it names are refused. The daemon on the node reads the same file: pods may be
//     older than the webhook.
//   - What it cannot do whole it refuses, with a message that says what to
//     change: it adds to a pod and changes nothing of it, and never says a
//     placeholder that some node would not take.
//   - It holds no credential and reads none. Its decision depends on the review,
//     the files of policies and grants, and the seed alone; it asks nobody.
//   - Requests are bounded in size and time, over TLS 1.2 at least. The key of its
//     certificate is never written anywhere.
package webhook
