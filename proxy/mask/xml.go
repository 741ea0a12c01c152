// SPDX-License-Identifier: Apache-2.0

package mask

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
)

// scanXML reads a document: the text of elements by their names, and NuGet's
// <add key="…" value="…"/> by the key, as a field that can only go as a whole.
func scanXML(data []byte) ([]field, error) {
	d := xml.NewDecoder(bytes.NewReader(data))
	var fields []field
	var path []string
	for {
		start := int(d.InputOffset())
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return fields, nil
		}
		if err != nil {
			return nil, err
		}
		if len(path) > maxNesting {
			return nil, errNesting
		}
		at := span{start, int(d.InputOffset())}
		switch token := token.(type) {
		case xml.StartElement:
			path = append(path[:len(path):len(path)], token.Name.Local)
			if key, value := attribute(token, "key"), attribute(token, "value"); key != "" && value != "" {
				fields = append(fields, field{path: append(path[:len(path)-1:len(path)-1], key), value: value, kind: other, at: at, entry: at})
			}
		case xml.EndElement:
			path = path[:len(path)-1]
		case xml.CharData:
			if value := strings.TrimSpace(string(token)); value != "" {
				fields = append(fields, field{path: path, value: value, at: at, entry: at})
			}
		}
	}
}

func attribute(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if strings.EqualFold(a.Name.Local, name) {
			return a.Value
		}
	}
	return ""
}
