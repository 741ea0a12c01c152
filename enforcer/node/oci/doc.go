// SPDX-License-Identifier: Apache-2.0

// Package oci puts a container under a policy at the one place that every
// runtime passes: the configuration that the OCI runtime is given. It is for
// those that know neither CNI nor CDI, Docker before all.
//
// It guarantees:
//
//   - A container is edited whole or refused. What is edited has the policy's
//     environment and mounts, and a createRuntime hook that attaches its
//     network namespace; runtimes run these hooks when the namespace is there
//     and before the first instruction of the container, and end the container
//     when one fails.
//   - What would not hold is refused: the host's network and network devices,
//     another container's or the host's processes and mounts, and capabilities
//     of the host that reach past every fence.
//   - The policy is an argument. Nothing that an image can say (environment,
//     labels, annotations) chooses it.
//   - Whatever is not edited stays as it was, keys that this package does not
//     know among it.
package oci
