// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const entry = `{"type": "phantom-cni", "policyFrom": {"annotation": "phantom-ns.dev/policy"}}`

// networks are what network plugins of clusters write.
var networks = map[string]string{
	"10-flannel.conflist": `{"name":"cbr0","cniVersion":"0.3.1","plugins":[
		{"type":"flannel","delegate":{"hairpinMode":true,"isDefaultGateway":true}},
		{"type":"portmap","capabilities":{"portMappings":true}}]}`,
	"10-calico.conflist": `{"name":"k8s-pod-network","cniVersion":"0.3.1","plugins":[
		{"type":"calico","log_level":"info","log_file_path":"/var/log/calico/cni/cni.log","datastore_type":"kubernetes",
		 "nodename":"node-1","mtu":0,"ipam":{"type":"calico-ipam"},"policy":{"type":"k8s"},
		 "kubernetes":{"kubeconfig":"/etc/cni/net.d/calico-kubeconfig"}},
		{"type":"portmap","snat":true,"capabilities":{"portMappings":true}},
		{"type":"bandwidth","capabilities":{"bandwidth":true}}]}`,
	"10-kindnet.conflist": `{"cniVersion":"0.3.1","name":"kindnet","plugins":[
		{"type":"ptp","ipMasq":false,"mtu":1500,"ipam":{"type":"host-local","dataDir":"/run/cni-ipam-state",
		 "routes":[{"dst":"0.0.0.0/0"}],"ranges":[[{"subnet":"10.244.1.0/24"}]]}},
		{"type":"portmap","capabilities":{"portMappings":true}}]}`,
	"05-cilium.conflist": `{"cniVersion":"0.3.1","name":"cilium","plugins":[
		{"type":"cilium-cni","enable-debug":false,"log-file":"/var/run/cilium/cilium-cni.log"}]}`,
	"10-gc.conflist": `{"cniVersion":"1.1.0","cniVersions":["1.0.0","1.1.0"],"name":"new","disableGC":true,"plugins":[
		{"type":"bridge","big":12345678901234567890}]}`,
}

func node(t *testing.T, files map[string]string) Config {
	t.Helper()
	dir := t.TempDir()
	c := Config{
		Networks: filepath.Join(dir, "net.d"), Plugins: filepath.Join(dir, "bin"), Plugin: filepath.Join(dir, "plugin"),
		Entry: filepath.Join(dir, "conf", "entry.json"), Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	if err := errors.Join(os.MkdirAll(c.Networks, 0o755), os.MkdirAll(filepath.Dir(c.Entry), 0o755)); err != nil {
		t.Fatal(err)
	}
	write(t, c.Plugin, "binary")
	write(t, c.Entry, entry)
	for name, text := range files {
		write(t, filepath.Join(c.Networks, name), text)
	}
	return c
}

// write makes a file in one step, as installers that take care do.
func write(t *testing.T, path, text string) {
	t.Helper()
	temp := filepath.Join(t.TempDir(), "file")
	if err := errors.Join(os.WriteFile(temp, []byte(text), 0o644), os.Rename(temp, path)); err != nil {
		t.Fatal(err)
	}
}

func installed(t *testing.T, c Config) map[string]any {
	t.Helper()
	data, err := os.ReadFile(c.file())
	if err != nil {
		t.Fatal(err)
	}
	return parsed(t, string(data))
}

func parsed(t *testing.T, text string) map[string]any {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var all map[string]any
	if err := decoder.Decode(&all); err != nil {
		t.Fatal(err)
	}
	return all
}

// What comes out is the network's list, key by key, and the plugin at its end;
// the network's file is as it was.
func TestThePluginComesLast(t *testing.T) {
	for name, text := range networks {
		c := node(t, map[string]string{name: text, "99-other.conflist": `{"name":"other","cniVersion":"1.0.0","plugins":[{"type":"x"}]}`, "98.conf.disabled": "{"})
		if err := Install(c); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := parsed(t, text)
		want["plugins"] = append(want["plugins"].([]any), parsed(t, entry))
		if got := installed(t, c); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, not %v", name, got, want)
		}
		if data, err := os.ReadFile(filepath.Join(c.Networks, name)); err != nil || string(data) != text {
			t.Errorf("%s was changed: %s, %v", name, data, err)
		}
		if all, err := os.ReadDir(c.Networks); err != nil || all[0].Name() != File || len(all) != 4 {
			t.Errorf("%s: the directory has %v, %v", name, all, err)
		}
		plugin := filepath.Join(c.Plugins, Plugin)
		if info, err := os.Stat(plugin); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("plugin: %v, %v", info, err)
		}
		if err := errors.Join(Remove(c), Remove(c)); err != nil {
			t.Fatal(err)
		}
		if all, _ := os.ReadDir(c.Networks); len(all) != 3 || all[0].Name() != name && all[1].Name() != name {
			t.Errorf("after removal: %v", all)
		}
		if _, err := os.Stat(plugin); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the plugin is there after removal: %v", err)
		}
	}
}

func TestOnePluginBecomesAList(t *testing.T) {
	c := node(t, map[string]string{
		"01-loopback.conf": `{"cniVersion":"0.4.0","name":"lo","type":"loopback"}`,
		"10-bridge.conf":   `{"cniVersion":"0.4.0","name":"one","type":"bridge","ipam":{"type":"host-local"}}`,
	})
	if err := Install(c); err != nil {
		t.Fatal(err)
	}
	want := parsed(t, `{"cniVersion":"0.4.0","name":"one","plugins":[{"cniVersion":"0.4.0","name":"one","type":"bridge","ipam":{"type":"host-local"}},`+entry+`]}`)
	if got := installed(t, c); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
}

// Nothing is written that a runtime could take for what was meant, and what was
// installed before is not taken away.
func TestWhatCannotBeChainedChangesNothing(t *testing.T) {
	for name, test := range map[string]struct {
		file, text string
		want       error
	}{
		"none":         {"readme.txt", "", ErrNoNetwork},
		"old":          {"10-a.conflist", `{"name":"a","cniVersion":"0.3.0","plugins":[{"type":"x"}]}`, errOld},
		"no version":   {"10-a.conflist", `{"name":"a","plugins":[{"type":"x"}]}`, errOld},
		"no name":      {"10-a.conflist", `{"cniVersion":"1.0.0","plugins":[{"type":"x"}]}`, errNoName},
		"no plugins":   {"10-a.conflist", `{"name":"a","cniVersion":"1.0.0","plugins":[]}`, errNoPlugins},
		"no type":      {"10-a.conflist", `{"name":"a","cniVersion":"1.0.0","plugins":[{}]}`, errNoPlugins},
		"there":        {"10-a.conflist", `{"name":"a","cniVersion":"1.0.0","plugins":[{"type":"x"},` + entry + `]}`, errThere},
		"half written": {"10-a.conflist", `{"name":"a","cniVer`, nil},
		"empty":        {"10-a.conflist", ``, nil},
		"null":         {"10-a.conflist", `null`, errNoName},
		"before ours":  {"00-00-a.conflist", networks["10-flannel.conflist"], nil},
		"too long":     {"10-a.conflist", `{"name":"` + strings.Repeat("a", maxFile) + `"}`, nil},
	} {
		files := map[string]string{test.file: test.text}
		if name != "none" {
			files["20-b.conflist"] = networks["10-calico.conflist"]
		}
		c := node(t, files)
		if err := Install(c); err == nil || test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
		if _, err := os.Stat(c.file()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: something is installed: %v", name, err)
		}
		write(t, c.file(), "of before")
		if err := Install(c); err == nil {
			t.Errorf("%s: no error", name)
		}
		if data, err := os.ReadFile(c.file()); string(data) != "of before" {
			t.Errorf("%s: what was there is %q, %v", name, data, err)
		}
	}
	c := node(t, map[string]string{"10-f.conflist": networks["10-flannel.conflist"]})
	for _, wrong := range []string{"", "[]", `{"type":"other"}`} {
		if write(t, c.Entry, wrong); Install(c) == nil {
			t.Errorf("the entry %q is taken", wrong)
		}
	}
}

// A network that appears, changes, or takes our file away, and an entry that
// changes: what is installed follows.
func TestWatchFollows(t *testing.T) {
	c := node(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	steps := make(chan struct{}, 4096)
	ended := make(chan error, 1)
	go func() { ended <- Watch(ctx, c, func() { steps <- struct{}{} }) }()
	until := func(what string, is func() bool) {
		t.Helper()
		for !is() {
			select {
			case <-steps:
			case err := <-ended:
				t.Fatalf("%s: the watch ended: %v", what, err)
			}
		}
	}
	name := func() string {
		data, err := os.ReadFile(c.file())
		if err != nil {
			return ""
		}
		name, _ := parsed(t, string(data))["name"].(string)
		return name
	}
	flannel := filepath.Join(c.Networks, "10-flannel.conflist")
	write(t, flannel, networks["10-flannel.conflist"])
	until("it appears", func() bool { return name() == "cbr0" })
	write(t, flannel, strings.Replace(networks["10-flannel.conflist"], "cbr0", "cbr1", 1))
	until("it changes", func() bool { return name() == "cbr1" })
	if err := os.Rename(c.file(), c.file()+".cilium_bak"); err != nil {
		t.Fatal(err)
	}
	until("it is put aside", func() bool { return name() == "cbr1" })
	if err := os.Remove(c.file()); err != nil {
		t.Fatal(err)
	}
	until("it is removed", func() bool { return name() == "cbr1" })
	write(t, c.Entry, `{"type":"phantom-cni","policy":"other"}`)
	until("the entry changes", func() bool {
		plugins := installed(t, c)["plugins"].([]any)
		return plugins[len(plugins)-1].(map[string]any)["policy"] == "other"
	})
	if err := os.Remove(flannel); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(c.Networks, "20-kindnet.conflist"), networks["10-kindnet.conflist"])
	until("another network", func() bool { return name() == "kindnet" })
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if name() != "kindnet" {
		t.Error("the end of the watch takes it away")
	}
}

// told is told each line of a log.
type told chan string

func (t told) Write(line []byte) (int, error) { t <- string(line); return len(line), nil }

// Nothing is in place before everything is: a plugin that could not be copied is
// copied with what comes next.
func TestWatchCopiesWhatItCouldNot(t *testing.T) {
	c := node(t, map[string]string{"10-f.conflist": networks["10-flannel.conflist"]})
	if err := os.Remove(c.Plugin); err != nil {
		t.Fatal(err)
	}
	log, ready := make(told, 4096), make(chan struct{}, 4096)
	c.Logger = slog.New(slog.NewTextHandler(log, nil))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Watch(ctx, c, func() { ready <- struct{}{} }) }()
	if line := <-log; !strings.Contains(line, c.Plugin) {
		t.Errorf("said %s", line)
	}
	write(t, c.Plugin, "binary")
	write(t, c.Entry, entry)
	<-ready
	if _, err := os.Stat(filepath.Join(c.Plugins, Plugin)); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A full disk says nothing when it has room again.
func TestWatchTriesAgain(t *testing.T) {
	c := node(t, map[string]string{"10-f.conflist": networks["10-flannel.conflist"]})
	if err := os.Mkdir(c.file(), 0o755); err != nil { // no file takes its place
		t.Fatal(err)
	}
	log := make(told)
	c.Logger = slog.New(slog.NewTextHandler(log, nil))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- watch(ctx, c, time.Millisecond, func() { t.Error("installed") }) }()
	<-log
	<-log
	cancel()
	for {
		select {
		case <-log:
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
			return
		}
	}
}

// An attempt that fails is no occasion for the next.
func TestOwnAttemptsAreNoChange(t *testing.T) {
	dir, buffer := t.TempDir(), make([]byte, 4096)
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := unix.InotifyAddWatch(fd, dir, changes); err != nil {
		t.Fatal(err)
	}
	others := func() bool {
		n, err := unix.Read(fd, buffer)
		if err != nil {
			t.Fatal(err)
		}
		changed, err := changed(buffer[:n])
		if err != nil {
			t.Fatal(err)
		}
		return changed
	}
	path := filepath.Join(dir, "a")
	if err := os.Mkdir(path, 0o755); err != nil || !others() {
		t.Errorf("a directory: no change, %v", err)
	}
	if _, err := replace(path, nil, 0o644); err == nil || others() {
		t.Errorf("an attempt: a change, %v", err)
	}
	if _, err := replace(path+".b", nil, 0o644); err != nil || !others() {
		t.Errorf("a file in its place: no change, %v", err)
	}
}

func TestAWatchEndsWithItsDirectory(t *testing.T) {
	c := node(t, map[string]string{"10-f.conflist": networks["10-flannel.conflist"]})
	ready := make(chan struct{}, 4096)
	ended := make(chan error, 1)
	go func() { ended <- Watch(t.Context(), c, func() { ready <- struct{}{} }) }()
	<-ready
	if err := os.Rename(c.Networks, c.Networks+".old"); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, errGone) {
		t.Errorf("got %v", err)
	}
}

func FuzzChained(f *testing.F) {
	for _, text := range networks {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, network []byte) {
		list, err := chained(network, []byte(entry))
		if err != nil {
			return
		}
		if _, err := chained(list, []byte(entry)); !errors.Is(err, errThere) {
			t.Errorf("what was made is no list with the plugin in it: %v", err)
		}
	})
}
