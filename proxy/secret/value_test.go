// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"unsafe"
)

func TestValuePrintsRedactedUnderEveryVerb(t *testing.T) {
	c := newCanary(t)
	v := c.value(t)
	type hidden struct{ v Value }
	forms := map[string]any{
		"value": v, "pointer": &v, "entry": Entry{Value: v}, "entry pointer": &Entry{Value: v},
		"slice": []Value{v}, "map": map[string]Value{"k": v}, "key": map[Value]int{v: 1},
		"unexported": hidden{v}, "env": Env{Value: v}, "request": Request{Env: Env{Value: v}},
		"any": []any{v}, "error": fmt.Errorf("wrapped %v", v),
	}
	flags := []string{"", "+", "#", "-", " ", "0", "20", ".3", "+#20.3"}
	for name, form := range forms {
		for verb := '!'; verb <= '~'; verb++ {
			for _, flag := range flags {
				c.absent(t, fmt.Sprintf("%"+flag+string(verb), form))
			}
		}
		if name != "unexported" && name != "error" && !strings.Contains(fmt.Sprintf("%+v", form), redacted) &&
			!strings.Contains(name, "pointer") {
			t.Errorf("%s under %%+v: no %s", name, redacted)
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%08b"} {
		if got := fmt.Sprintf(verb, v); got != redacted {
			t.Errorf("%s: %q", verb, got)
		}
	}
}

func TestValueEncodesRedacted(t *testing.T) {
	c := newCanary(t)
	v := c.value(t)
	var out bytes.Buffer
	for _, handler := range []slog.Handler{
		slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil),
	} {
		slog.New(handler).Info("test", "value", v, "entry", Entry{Value: v}, "pointer", &v, "request", Request{Env: Env{Value: v}})
	}
	for _, form := range []any{v, &v, Entry{Value: v}, Request{Env: Env{Value: v}}, map[string]any{"v": v}} {
		text, err := json.Marshal(form)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(text)
	}
	type element struct{ V Value }
	text, err := xml.Marshal(element{v})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(text)
	c.absent(t, out.String())
	if n := strings.Count(out.String(), redacted); n < 8 {
		t.Errorf("%d times %s: %s", n, redacted, &out)
	}
}

func TestNewWipesItsSource(t *testing.T) {
	c := newCanary(t)
	source := bytes.Clone(c)
	v, err := New(source)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Wipe()
	if !bytes.Equal(source, make([]byte, len(c))) {
		t.Error("source still holds bytes")
	}
	c.same(t, v)
}

func TestWipeLeavesZerosBehindRevealedBytes(t *testing.T) {
	for name, mapping := range map[string]func(int) ([]byte, error){"memfd_secret": mapSecret, "mlock": mapLocked} {
		t.Run(name, func(t *testing.T) {
			data, err := mapping(os.Getpagesize())
			if err != nil && name == "memfd_secret" {
				t.Log("kernel has none, the other mapping serves:", err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			c := newCanary(t)
			v := Value{&memory{data: data, length: copy(data, c)}}
			copied, revealed := v, v.Reveal()
			c.same(t, copied)
			v.Wipe()
			v.Wipe()
			if !bytes.Equal(revealed, make([]byte, len(c))) {
				t.Error("revealed bytes outlive Wipe")
			}
			if copied.Len() != 0 || copied.Reveal() != nil {
				t.Error("a copy outlives Wipe")
			}
		})
	}
}

func TestMemoryIsLockedAndNotDumped(t *testing.T) {
	v := newCanary(t).value(t)
	flags := vmFlags(t, uintptr(unsafe.Pointer(&v.Reveal()[0])))
	for _, flag := range []string{"lo", "dd"} { // locked; do not dump
		if !strings.Contains(flags, " "+flag) {
			t.Errorf("mapping lacks %s: %s", flag, flags)
		}
	}
	data, err := mapLocked(os.Getpagesize())
	if err != nil {
		t.Fatal(err)
	}
	flags = vmFlags(t, uintptr(unsafe.Pointer(&data[0])))
	for _, flag := range []string{"lo", "dd", "dc"} { // and do not copy on fork
		if !strings.Contains(flags, " "+flag) {
			t.Errorf("fallback mapping lacks %s: %s", flag, flags)
		}
	}
}

// Where the kernel has memfd_secret, not even this process reads the bytes by
// way of the kernel.
func TestP1SecretMemoryIsNotReadThroughTheKernel(t *testing.T) {
	data, err := mapSecret(os.Getpagesize())
	if err != nil {
		t.Log("kernel has no memfd_secret, the other mapping serves:", err)
		return
	}
	c := newCanary(t)
	copy(data, c)
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	buffer := make([]byte, len(c))
	if _, err := mem.ReadAt(buffer, int64(uintptr(unsafe.Pointer(&data[0])))); err == nil || bytes.Equal(buffer, c) {
		t.Errorf("read: %v", err)
	}
}

// vmFlags is the VmFlags line of the mapping that holds address.
func vmFlags(t *testing.T, address uintptr) string {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	inside := false
	for line := range strings.Lines(string(maps)) {
		var from, to uintptr
		if n, _ := fmt.Sscanf(line, "%x-%x ", &from, &to); n == 2 {
			inside = from <= address && address < to
		}
		if inside && strings.HasPrefix(line, "VmFlags:") {
			return strings.TrimSpace(line)
		}
	}
	t.Fatalf("no mapping holds %x", address)
	return ""
}

func TestEmptyValue(t *testing.T) {
	v, err := New(nil)
	if err != nil || v.Len() != 0 || v.Reveal() != nil {
		t.Errorf("New(nil): %d bytes, %v", v.Len(), err)
	}
	v.Wipe()
	Value{}.Wipe()
	if got := fmt.Sprint(Value{}); got != redacted {
		t.Errorf("empty prints %q: its emptiness is no one's business", got)
	}
}

func TestReadLockedIsBounded(t *testing.T) {
	for _, size := range []int{0, 1, 4095, 4096, 4097, 8192, MaxLength, MaxLength + 2} {
		v, err := readLocked(bytes.NewReader(bytes.Repeat([]byte("k"), size)))
		if err != nil || v.Len() != size {
			t.Errorf("%d bytes: %d, %v", size, v.Len(), err)
		}
		v.Wipe()
	}
	if v, err := readLocked(bytes.NewReader(make([]byte, MaxLength+3))); !errors.Is(err, ErrLong) || v.Len() != 0 {
		t.Errorf("too long: %d bytes, %v", v.Len(), err)
	}
}
