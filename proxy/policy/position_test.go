// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// everyPosition is one of each that this build acts upon, as a policy writes it.
var everyPosition = []struct {
	text string
	want Position
}{
	{"bearer", Position{Kind: PositionBearer}},
	{"token", Position{Kind: PositionToken}},
	{"scheme: Bot", Position{PositionScheme, "Bot"}},
	{"basic: password", Position{PositionBasic, BasicPassword}},
	{"basic: username", Position{PositionBasic, BasicUsername}},
	{"header: X-Api-Key", Position{PositionHeader, "x-api-key"}},
	{"query: api_key", Position{PositionQuery, "api_key"}},
	{"path", Position{Kind: PositionPath}},
	{"path: bot", Position{PositionPath, "bot"}},
	{"cookie: d", Position{PositionCookie, "d"}},
	{"form: token", Position{PositionForm, "token"}},
	{"json: /auth/0/a~1b~0c", Position{PositionJSON, "/auth/0/a~1b~0c"}},
	{"json: /", Position{PositionJSON, "/"}},
	{"subprotocol", Position{Kind: PositionSubprotocol}},
}

func parseOne(t *testing.T, text string) (Declared, error) {
	t.Helper()
	f, err := Parse("p.yaml", []byte("version: 1\ncredentials:\n  a:\n    "+text+"\n"))
	if err != nil {
		return Declared{}, err
	}
	return f.Credentials[0], nil
}

func TestEveryPositionParses(t *testing.T) {
	for _, c := range everyPosition {
		d, err := parseOne(t, "inject: ["+c.text+"]")
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if diff := cmp.Diff([]Position{c.want}, d.Positions); diff != "" {
			t.Errorf("%s: %s", c.text, diff)
		}
		if got := d.Positions[0].String(); !strings.EqualFold(got, c.text) {
			t.Errorf("%s is written %s", c.text, got)
		}
	}
}

// TestOutboundPositions: those that can be written into any request, and no
// other.
func TestOutboundPositions(t *testing.T) {
	for _, c := range everyPosition {
		text := c.text
		if strings.Contains(text, ":") {
			text = "{" + text + "}"
		}
		d, err := parseOne(t, "outbound: "+text)
		if want := slices.Contains(outboundKinds, c.want.Kind); (err == nil) != want {
			t.Errorf("%s: %v", c.text, err)
		}
		if err == nil && *d.Outbound != c.want {
			t.Errorf("%s: %v", c.text, *d.Outbound)
		}
	}
}

// TestOutboundNeedsAMovablePosition: what stands in a path or a body would be
// missed there.
func TestOutboundNeedsAMovablePosition(t *testing.T) {
	for _, c := range everyPosition {
		s := &Session{Credentials: []Credential{{
			Name: "a", Hosts: []string{"a.test"}, Positions: []Position{c.want}, Outbound: &Position{PositionHeader, "x-out"}, Rule: "p.yaml:3",
		}}}
		if _, err := Compile(s); (err == nil) != c.want.Movable() {
			t.Errorf("%s: %v", c.text, err)
		}
		s.Credentials[0].Outbound = nil
		if _, err := Compile(s); err != nil {
			t.Errorf("%s without outbound: %v", c.text, err)
		}
	}
}

// TestOutboundOfAProvider: what cannot move is left out of the provider's own
// positions, where the policy says outbound.
func TestOutboundOfAProvider(t *testing.T) {
	f, err := Parse("p.yaml", []byte("version: 1\ncredentials:\n  openai: {from: \"env:X\", outbound: {header: x-gateway-key}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Resolve(f, Flags{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Position{{Kind: PositionBearer}}, s.Credentials[0].Positions); diff != "" {
		t.Error(diff)
	}
	if _, err := Compile(s); err != nil {
		t.Error(err)
	}
}

// TestSchemaHasThePositions: every form that the parser takes is in the schema,
// and no other.
func TestSchemaHasThePositions(t *testing.T) {
	var schema struct {
		Defs struct {
			Credential struct {
				Properties struct {
					Inject struct {
						Items struct{ OneOf []positionSchema }
					}
					Outbound struct{ OneOf []positionSchema }
				}
			}
		} `json:"$defs"`
	}
	if err := json.Unmarshal(Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	properties := schema.Defs.Credential.Properties
	comparePositions(t, "inject", properties.Inject.Items.OneOf, barePositions, namedPositions)
	var bare, named []string
	for _, kind := range outboundKinds {
		if slices.Contains(barePositions, string(kind)) {
			bare = append(bare, string(kind))
		}
		if slices.Contains(namedPositions, string(kind)) {
			named = append(named, string(kind))
		}
	}
	comparePositions(t, "outbound", properties.Outbound.OneOf, bare, named)
}

type positionSchema struct {
	Enum       []string
	Properties map[string]json.RawMessage
}

func comparePositions(t *testing.T, key string, schema []positionSchema, bare, named []string) {
	t.Helper()
	if len(schema) != 2 {
		t.Fatalf("%s: %d forms", key, len(schema))
	}
	var keys []string
	for name := range schema[1].Properties {
		keys = append(keys, name)
	}
	slices.Sort(keys)
	named = slices.Sorted(slices.Values(named))
	if diff := cmp.Diff(bare, schema[0].Enum); diff != "" {
		t.Errorf("%s: parser (-), schema (+):\n%s", key, diff)
	}
	if diff := cmp.Diff(named, keys); diff != "" {
		t.Errorf("%s: parser (-), schema (+):\n%s", key, diff)
	}
}
