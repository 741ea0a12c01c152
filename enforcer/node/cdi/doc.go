// SPDX-License-Identifier: Apache-2.0

// Package cdi is how trust and placeholders enter a container: files that
// containers mount, and a specification for the Container Device Interface
// that names them, one device for each policy of the node.
//
//	/var/lib/phantom-ns/shared/NAME/   what a container of policy NAME mounts at /run/phantom-ns
//	    ca.pem                         the policy's authority alone
//	    bundle.pem                     the node's roots and the authority
//	    java-cacerts                   the same for Java
//	    resolv.conf                    for a sealed container whose runtime has no good one
//	/etc/cdi/phantom-ns.json           kind phantom-ns.dev/policy, device NAME
//
// It guarantees:
//
//   - Nothing in these files is secret. Who reads them learns placeholders,
//     which are good for nothing outside a session of that policy on this node.
//   - Each file is replaced in one step, and only when it says something new:
//     a runtime reads the old or the new one, and what a running container has
//     mounted is not taken from under it.
//   - Files in /etc/cdi that are not ours are never touched. A policy that is
//     gone loses its device before its files.
//   - Every mount is read-only, and its target is one that a runtime can cover
//     whatever image it is given: where an image has no such file the runtime
//     makes an empty one, and links are followed inside the image.
package cdi
