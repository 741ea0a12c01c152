// SPDX-License-Identifier: Apache-2.0

package policy

import (
	_ "embed" // the schema
	"slices"
)

//go:embed policy.schema.json
var schema []byte

// Schema returns the JSON Schema (draft 2020-12) of a policy, for editors. It
// knows every key of the language; those this build refuses say so in their
// description. [Parse] is stricter: it also checks what a schema cannot say.
func Schema() []byte { return slices.Clone(schema) }
