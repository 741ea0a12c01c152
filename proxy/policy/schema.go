// SPDX-License-Identifier: Apache-2.0

package policy

import (
	_ "embed" // the schema
	"slices"
)

//go:embed policy.schema.json
var schema []byte

//go:embed profile.schema.json
var profileSchema []byte

// Schema returns the JSON Schema (draft 2020-12) of a policy, for editors. It
// knows every key of the language; those this build refuses say so in their
// description. [Parse] is stricter: it also checks what a schema cannot say.
func Schema() []byte { return slices.Clone(schema) }

// ProfileSchema returns the JSON Schema (draft 2020-12) of a profile's file.
func ProfileSchema() []byte { return slices.Clone(profileSchema) }
