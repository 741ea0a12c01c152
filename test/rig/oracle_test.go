// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOracleFindsEveryEncoding(t *testing.T) {
	secret := Canary(t, "sk-/+?")
	o := NewOracle(secret)
	var percent strings.Builder
	for _, b := range []byte(secret) {
		percent.WriteString("%" + hex.EncodeToString([]byte{b}))
	}
	texts := map[string]string{
		"raw":           "x" + secret + "y",
		"hex":           hex.EncodeToString([]byte(secret)),
		"hex upper":     strings.ToUpper(hex.EncodeToString([]byte(secret))),
		"percent":       percent.String(),
		"percent upper": strings.ToUpper(percent.String()),
	}
	for before := range 7 {
		for after := range 4 {
			plain := []byte(strings.Repeat("u", before) + secret + strings.Repeat(":", after))
			for name, coding := range map[string]*base64.Encoding{"std": base64.StdEncoding, "url": base64.URLEncoding, "raw": base64.RawStdEncoding} {
				texts[strings.Repeat("b", before)+name+strings.Repeat("a", after)] = coding.EncodeToString(plain)
			}
		}
	}
	for name, text := range texts {
		if len(o.Bytes(name, []byte("..."+text+"..."))) == 0 {
			t.Errorf("%s: not found in %q", name, text)
		}
	}
}

func TestOracleIsSilentOnOtherText(t *testing.T) {
	o := NewOracle(Canary(t, "sk-"))
	other := Canary(t, "sk-")
	for _, text := range []string{other, url.QueryEscape(other), base64.StdEncoding.EncodeToString([]byte(other))} {
		if hits := o.Bytes("other", []byte(text)); len(hits) != 0 {
			t.Errorf("found in another secret: %v", hits)
		}
	}
}

func TestOracleReadsAcrossWindows(t *testing.T) {
	secret := Canary(t, "sk-")
	o := NewOracle(secret)
	for _, at := range []int{0, 1<<20 - 20, 1 << 20, 1<<20 + o.longest - 5, 3<<20 - 1} {
		data := make([]byte, 4<<20)
		copy(data[at:], secret)
		hits, err := o.Reader("stream", bytes.NewReader(data))
		if err != nil || len(hits) == 0 {
			t.Fatalf("at %d: %v, %v", at, hits, err)
		}
		for _, hit := range hits {
			if hit.Offset != int64(at) {
				t.Errorf("at %d: reported at %d", at, hit.Offset)
			}
		}
	}
}

func TestOracleSearchesNamesAndFiles(t *testing.T) {
	secret := Canary(t, "sk-")
	dir := t.TempDir()
	os.MkdirAll(filepath.Join(dir, "deep", secret), 0o755)
	os.WriteFile(filepath.Join(dir, "deep", "file"), []byte("k="+secret), 0o600)
	os.Symlink("/proc", filepath.Join(dir, "link"))
	hits, err := NewOracle(secret).Files(dir)
	if err != nil || len(hits) != 2 {
		t.Errorf("hits %v, err %v", hits, err)
	}
}
