// SPDX-License-Identifier: Apache-2.0

package mask

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
)

// maxNesting bounds how deep the values of a file may be nested.
const maxNesting = 64

var (
	errNesting  = errors.New("nested too deep")
	errTrailing = errors.New("more than one value")
)

// jsonReader walks over a document and notes where values stand.
type jsonReader struct {
	data    []byte
	decoder *json.Decoder
	fields  []field
}

// scanJSON reads one JSON document, strictly.
func scanJSON(data []byte) ([]field, error) {
	r := &jsonReader{data: data, decoder: json.NewDecoder(bytes.NewReader(data))}
	r.decoder.UseNumber()
	if err := r.value(nil); err != nil {
		return nil, err
	}
	if _, err := r.decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errTrailing
	}
	return r.fields, nil
}

// next is where the next token begins.
func (r *jsonReader) next() int {
	at := int(r.decoder.InputOffset())
	for at < len(r.data) && bytes.IndexByte([]byte(" \t\r\n,:"), r.data[at]) >= 0 {
		at++
	}
	return at
}

func (r *jsonReader) value(path []string) error {
	if len(path) > maxNesting {
		return errNesting
	}
	start := r.next()
	token, err := r.decoder.Token()
	if err != nil {
		return err
	}
	at := len(r.fields)
	r.fields = append(r.fields, field{path: path, kind: other})
	switch token := token.(type) {
	case json.Delim:
		r.fields[at].kind = container
		if err := r.inside(path, token); err != nil {
			return err
		}
	case string:
		r.fields[at].kind, r.fields[at].value = text, token
	}
	r.fields[at].at = span{start, int(r.decoder.InputOffset())}
	return nil
}

// inside reads what an object or array holds, and its end.
func (r *jsonReader) inside(path []string, begin json.Delim) error {
	for i := 0; r.decoder.More(); i++ {
		step := strconv.Itoa(i)
		if begin == '{' {
			key, err := r.decoder.Token()
			if err != nil {
				return err
			}
			step = key.(string) // the decoder takes no other key
		}
		if err := r.value(append(path[:len(path):len(path)], step)); err != nil {
			return err
		}
	}
	_, err := r.decoder.Token()
	return err
}
