// SPDX-License-Identifier: Apache-2.0

//go:build root

package profile

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// npmRegistry plays host with one package, hello, that names the host.
func npmRegistry(t *testing.T, host string) http.Handler {
	t.Helper()
	archive := packNPM(t, map[string]string{
		"package/package.json": `{"name":"hello","version":"1.0.0","main":"index.js"}`,
		"package/index.js":     "module.exports = '" + host + "'\n",
	})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hello", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"name":"hello","dist-tags":{"latest":"1.0.0"},"versions":{"1.0.0":{"name":"hello","version":"1.0.0","dist":{"tarball":"https://%s/hello/-/hello-1.0.0.tgz"}}}}`, host)
	})
	mux.HandleFunc("GET /hello/-/hello-1.0.0.tgz", func(w http.ResponseWriter, _ *http.Request) { w.Write(archive) })
	return mux
}

// packNPM packs a package as npm does.
func packNPM(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var packed bytes.Buffer
	zipped := gzip.NewWriter(&packed)
	archive := tar.NewWriter(zipped)
	for name, text := range files {
		head := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg}
		if err := archive.WriteHeader(head); err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(archive.Close(), zipped.Close()); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

// pipIndex plays an index (PEP 503) with one wheel, hello.
func pipIndex(t *testing.T) http.Handler {
	t.Helper()
	const wheel = "hello-1.0-py3-none-any.whl"
	packed := rig.Zip(t, [][2]string{
		{"hello/__init__.py", "text = 'hello'\n"},
		{"hello-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: hello\nVersion: 1.0\n"},
		{"hello-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		{"hello-1.0.dist-info/RECORD", "hello/__init__.py,,\nhello-1.0.dist-info/METADATA,,\nhello-1.0.dist-info/WHEEL,,\nhello-1.0.dist-info/RECORD,,\n"},
	})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /simple/hello/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<!DOCTYPE html><html><body><a href="/files/%s">%s</a></body></html>`, wheel, wheel)
	})
	mux.HandleFunc("GET /files/"+wheel, func(w http.ResponseWriter, _ *http.Request) { w.Write(packed) })
	return mux
}

// goProxy plays a module proxy with one module, hello.test/x.
func goProxy(t *testing.T) http.Handler {
	t.Helper()
	const mod = "module hello.test/x\n"
	answers := map[string][]byte{
		"info": []byte(`{"Version":"v1.0.0"}`), "mod": []byte(mod),
		"zip": rig.Zip(t, [][2]string{{"hello.test/x@v1.0.0/go.mod", mod}, {"hello.test/x@v1.0.0/x.go", "package x\n"}}),
	}
	mux := http.NewServeMux()
	for kind, data := range answers {
		mux.HandleFunc("GET /hello.test/x/@v/v1.0.0."+kind, func(w http.ResponseWriter, _ *http.Request) { w.Write(data) })
	}
	return mux
}
