// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"archive/zip"
	"bytes"
	"testing"
)

// Zip packs files, each a name and its text: a Python wheel is no more.
func Zip(t testing.TB, files [][2]string) []byte {
	t.Helper()
	var packed bytes.Buffer
	archive := zip.NewWriter(&packed)
	for _, f := range files {
		file, err := archive.Create(f[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.Write([]byte(f[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}
