// SPDX-License-Identifier: Apache-2.0

//go:build containers

package containers

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	specs "tags.cncf.io/container-device-interface/specs-go"

	"github.com/phantom-ns/phantom-ns/enforcer/node/cdi"
	"github.com/phantom-ns/phantom-ns/proxy/ca"
)

// layouts are how images keep their roots: directories, links ("path -> to")
// and files, on top of a busybox. What else an image has does not matter to a
// mount.
var layouts = map[string][]string{
	"nothing at all":                 {},
	"debian":                         {"etc/ssl/certs/ca-certificates.crt", "etc/ssl/certs/java/cacerts", "usr/lib/ssl/certs -> /etc/ssl/certs", "usr/local/share/ca-certificates/"},
	"debian, merged usr":             {"usr/lib/ssl/certs -> /etc/ssl/certs", "lib -> usr/lib", "etc/ssl/certs/ca-certificates.crt"},
	"distroless":                     {"etc/ssl/certs/ca-certificates.crt"},
	"alpine":                         {"etc/ssl/certs/ca-certificates.crt", "etc/ssl/cert.pem -> certs/ca-certificates.crt", "etc/ssl1.1/certs -> /etc/ssl/certs"},
	"alpine without ca-certificates": {"etc/ssl/cert.pem -> certs/ca-certificates.crt"},
	"fedora": {
		"etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "etc/pki/ca-trust/extracted/java/cacerts",
		"etc/pki/tls/certs/ca-bundle.crt -> /etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
		"etc/pki/tls/cert.pem -> /etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
		"etc/pki/java/cacerts -> /etc/pki/ca-trust/extracted/java/cacerts", "etc/ssl/certs -> ../pki/tls/certs", "etc/pki/ca-trust/source/anchors/",
	},
	"suse":                  {"var/lib/ca-certificates/ca-bundle.pem", "etc/ssl/ca-bundle.pem -> ../../var/lib/ca-certificates/ca-bundle.pem", "etc/ssl/certs -> ../../var/lib/ca-certificates/pem", "var/lib/ca-certificates/pem/"},
	"arch":                  {"etc/ca-certificates/extracted/tls-ca-bundle.pem", "etc/ssl/cert.pem -> ../ca-certificates/extracted/tls-ca-bundle.pem", "etc/ssl/certs/ca-certificates.crt -> ../../ca-certificates/extracted/tls-ca-bundle.pem"},
	"temurin":               {"opt/java/openjdk/lib/security/cacerts", "etc/ssl/certs/ca-certificates.crt"},
	"run is a link":         {"var/run/", "run -> var/run"},
	"a link that leads out": {"etc/ssl/cert.pem -> ../../../../../../../../../../../../../../../outside"},
}

// A container of any image starts, and reads at each path what the node
// wrote; links of the image lead nowhere but into the image.
func TestEveryLayoutIsCovered(t *testing.T) {
	b := newBed(t)
	layout, edits := b.device()
	for _, runtime := range []string{"runc", "crun"} {
		if runtime == "crun" {
			b.hideUnified()
		}
		for name, entries := range layouts {
			t.Run(runtime+", "+name, func(t *testing.T) {
				bundle := b.bundle(t, entries, edits)
				out, err := b.try(runtime, "run", "--bundle", bundle, fmt.Sprintf("%s-%d", runtime, os.Getpid()))
				if err != nil {
					t.Fatalf("it does not start: %v\n%s", err, out)
				}
				for _, m := range layout.Mounts("coder")[1:] {
					want, err := os.ReadFile(m.Source)
					if err != nil {
						t.Fatal(err)
					}
					if line := fmt.Sprintf("%d %s\n", len(want), m.Target); !strings.Contains(out, line) {
						t.Errorf("%s is not what the node wrote\n%s", m.Target, out)
					}
				}
				if _, err := os.Lstat("/outside"); err == nil {
					os.RemoveAll("/outside")
					t.Error("/outside was made on the host")
				}
			})
		}
	}
}

// device writes one policy's, as the daemon does.
func (b *bed) device() (cdi.Layout, specs.ContainerEdits) {
	b.t.Helper()
	authority, err := ca.New(ca.Options{})
	if err != nil {
		b.t.Fatal(err)
	}
	layout := cdi.Layout{Specs: filepath.Join(b.scratch, "cdi"), Shared: filepath.Join(b.scratch, "shared")}
	if err := layout.Write([]cdi.Policy{{Name: "coder", CA: authority.PEM()}}); err != nil {
		b.t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(layout.Specs, "phantom-ns.json"))
	if err != nil {
		b.t.Fatal(err)
	}
	var spec specs.Spec
	if err := json.Unmarshal(data, &spec); err != nil {
		b.t.Fatal(err)
	}
	return layout, spec.Devices[0].ContainerEdits
}

// bundle makes a container of a busybox and the entries, read-only, that says
// how long the file at each mount's target is.
func (b *bed) bundle(t *testing.T, entries []string, edits specs.ContainerEdits) string {
	t.Helper()
	dir := t.TempDir()
	root := filepath.Join(dir, "rootfs")
	script := ""
	for _, m := range edits.Mounts[1:] {
		script += fmt.Sprintf("echo $(busybox wc -c <%s) %s\n", m.ContainerPath, m.ContainerPath)
	}
	if err := populate(root, entries); err != nil {
		t.Fatal(err)
	}
	b.run("runc", "spec", "--bundle", dir)
	path := filepath.Join(dir, "config.json")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(data, &config); err != nil {
		t.Fatal(err)
	}
	process := config["process"].(map[string]any)
	process["terminal"], process["args"] = false, []string{"/bin/busybox", "sh", "-c", script}
	config["linux"].(map[string]any)["cgroupsPath"] = "/" + b.cgroup + "/layout"
	mounts := config["mounts"].([]any)
	for _, m := range edits.Mounts {
		mounts = append(mounts, map[string]any{"destination": m.ContainerPath, "source": m.HostPath, "type": "bind", "options": m.Options})
	}
	config["mounts"] = mounts
	if data, err = json.Marshal(config); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func populate(root string, entries []string) error {
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		path, to, link := strings.Cut(entry, " -> ")
		full := filepath.Join(root, path)
		err := os.MkdirAll(filepath.Dir(full), 0o755)
		switch {
		case err != nil:
		case link:
			err = os.Symlink(to, full)
		case strings.HasSuffix(path, "/"):
			err = os.MkdirAll(full, 0o755)
		default:
			err = os.WriteFile(full, []byte("of the image\n"), 0o644)
		}
		if err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "bin"), 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(root, "bin/busybox"), busybox, 0o755)
}

// hideUnified takes cgroup v2 away where v1 is there, too: crun wants either.
func (b *bed) hideUnified() {
	b.do(func() error {
		err := unix.Unmount("/sys/fs/cgroup/unified", unix.MNT_DETACH)
		if err == unix.EINVAL || err == unix.ENOENT {
			return nil
		}
		return err
	})
}
