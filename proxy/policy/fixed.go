// SPDX-License-Identifier: Apache-2.0

package policy

// PlaceholderFixed tells whether the placeholder can be made without the real
// value: it is a variable's name, or of a template of the policy's own that has
// no group of any length. Those of providers are as long as the real one, and a
// key pair's or service account's is made of it.
func (c Credential) PlaceholderFixed() bool {
	if c.Signs() || c.Asserts() {
		return false
	}
	if c.Placeholder.Mode == ShapeName {
		return true
	}
	if c.Placeholder.Mode != ShapeTemplate || len(c.Placeholder.Templates) == 0 {
		return false
	}
	t, err := parseTemplate(c.Placeholder.Templates[0])
	if err != nil {
		return false
	}
	_, open := t.open()
	return !open
}
