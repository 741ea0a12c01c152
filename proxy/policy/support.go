// SPDX-License-Identifier: Apache-2.0

package policy

// unsupported lists the keys ("credentials.files") and values ("audit.full:
// drop") that the policy's language has and this build does not act upon. They
// are refused where they are written. Whoever adds a mechanism deletes its line
// here, and its mark in policy.schema.json.
var unsupported = map[string]bool{
	"egress.approve: ask": true,
}
