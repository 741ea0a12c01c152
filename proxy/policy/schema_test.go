// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// object is the part of JSON Schema that names keys.
type object struct {
	Properties           map[string]json.RawMessage `json:"properties"`
	AdditionalProperties json.RawMessage            `json:"additionalProperties"`
	Defs                 map[string]json.RawMessage `json:"$defs"`
	Description          string                     `json:"description"`
}

func readObject(t *testing.T, data []byte) object {
	t.Helper()
	var o object
	if err := json.Unmarshal(data, &o); err != nil {
		t.Fatal(err)
	}
	return o
}

func names[T any](table keys[T]) []string { return slices.Sorted(maps.Keys(table)) }

func TestSchemaHasTheKeysOfTheParser(t *testing.T) {
	root := readObject(t, Schema())
	def := func(name string) object { return readObject(t, root.Defs[name]) }
	section := func(name string) object { return readObject(t, root.Properties[name]) }
	for name, c := range map[string]struct {
		schema object
		keys   []string
	}{
		"root":       {root, names(rootKeys)},
		"credential": {def("credential"), names(credentialKeys)},
		"file":       {def("file"), names(maskedFileKeys)},
		"grant":      {readObject(t, def("credential").Properties["grant"]), names(grantKeys)},
		"capture":    {def("capture"), names(captureKeys)},
		"captured":   {def("captured"), names(capturedSecretKeys)},
		"egress":     {def("egress"), names(egressKeys)},
		"host":       {def("host"), names(hostKeys)},
		"upstream":   {section("upstream"), names(upstreamKeys)},
		"filesystem": {section("filesystem"), names(filesystemKeys)},
		"limits":     {section("limits"), names(limitKeys)},
		"audit":      {section("audit"), names(auditKeys)},
		"strict":     {section("strict"), names(strictKeys)},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.keys, slices.Sorted(maps.Keys(c.schema.Properties))); diff != "" {
				t.Errorf("parser (-), schema (+):\n%s", diff)
			}
			if string(c.schema.AdditionalProperties) != "false" {
				t.Error("the schema lets other keys pass")
			}
		})
	}
}

// A key or value that this build refuses says so in the schema, and no other
// does.
func TestSchemaMarksWhatIsNotSupported(t *testing.T) {
	root := readObject(t, Schema())
	marked := make(map[string]bool)
	mark := func(where string, properties map[string]json.RawMessage) {
		for key, data := range properties {
			description := readObject(t, data).Description
			if key == "inject" {
				var items struct{ Items object }
				if err := json.Unmarshal(data, &items); err != nil {
					t.Fatal(err)
				}
				description = items.Items.Description
			}
			_, list, found := strings.Cut(description, "Not supported by this build")
			values, listed := strings.CutPrefix(list, ": ")
			switch {
			case found && !listed:
				marked[join(where, key)] = true
			case found:
				for value := range strings.SplitSeq(strings.TrimSuffix(values, "."), ", ") {
					marked[join(where, key)+": "+value] = true
				}
			}
		}
	}
	mark("", root.Properties)
	mark("credentials", readObject(t, root.Defs["credential"]).Properties)
	mark("egress", readObject(t, root.Defs["egress"]).Properties)
	for _, name := range []string{"upstream", "audit", "strict"} {
		mark(name, readObject(t, root.Properties[name]).Properties)
	}
	if diff := cmp.Diff(unsupported, marked); diff != "" {
		t.Errorf("build (-), schema (+):\n%s", diff)
	}
}
