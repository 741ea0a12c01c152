// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestDistributions(t *testing.T) {
	for name, c := range map[string]struct {
		plant         func(w *world)
		hashed, files []string
		anchors       []string
	}{
		"debian": {func(w *world) {
			w.file("/etc/ssl/certs/ca-certificates.crt", "x")
			w.link("/usr/lib/ssl/cert.pem", "/etc/ssl/certs/ca-certificates.crt")
		}, []string{"/etc/ssl/certs"}, []string{"/etc/ssl/certs/ca-certificates.crt"}, nil},
		"fedora": {func(w *world) {
			w.file("/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "x")
			w.link("/etc/pki/tls/certs/ca-bundle.crt", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem")
			w.link("/etc/pki/tls/cert.pem", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem")
			w.link("/etc/ssl/certs", "../pki/tls/certs")
			w.mkdir("/etc/pki/ca-trust/source/anchors")
		}, []string{"/etc/ssl/certs"}, []string{"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"}, []string{"/etc/pki/ca-trust/source/anchors"}},
		"nixos": {func(w *world) {
			w.file("/nix/store/aaa-cacert/etc/ssl/certs/ca-bundle.crt", "x")
			w.chmod("/nix/store", 0o775|os.ModeSticky)
			w.link("/nix/store/bbb-etc/etc/ssl/certs/ca-certificates.crt", "/nix/store/aaa-cacert/etc/ssl/certs/ca-bundle.crt")
			w.link("/etc/static", "/nix/store/bbb-etc/etc")
			w.link("/etc/ssl/certs/ca-certificates.crt", "/etc/static/ssl/certs/ca-certificates.crt")
		}, []string{"/etc/ssl/certs"}, []string{"/etc/ssl/certs/ca-certificates.crt"}, nil},
		"arch": {func(w *world) {
			w.file("/etc/ca-certificates/extracted/tls-ca-bundle.pem", "x")
			w.mkdir("/etc/ca-certificates/extracted/cadir", "/etc/ca-certificates/trust-source/anchors")
			w.link("/etc/ssl/cert.pem", "../ca-certificates/extracted/tls-ca-bundle.pem")
			w.link("/etc/ssl/certs/ca-certificates.crt", "../../ca-certificates/extracted/tls-ca-bundle.pem")
		}, []string{"/etc/ssl/certs", "/etc/ca-certificates/extracted/cadir"}, []string{"/etc/ssl/certs/ca-certificates.crt"}, []string{"/etc/ca-certificates/trust-source/anchors"}},
		"suse": {func(w *world) {
			w.file("/var/lib/ca-certificates/ca-bundle.pem", "x")
			w.mkdir("/var/lib/ca-certificates/pem", "/etc/pki/trust/anchors")
			w.link("/etc/ssl/certs", "../../var/lib/ca-certificates/pem")
			w.link("/etc/ssl/ca-bundle.pem", "/var/lib/ca-certificates/ca-bundle.pem")
		}, []string{"/etc/ssl/certs"}, []string{"/var/lib/ca-certificates/ca-bundle.pem"}, []string{"/etc/pki/trust/anchors"}},
		"alpine": {func(w *world) {
			w.file("/etc/ssl/certs/ca-certificates.crt", "x")
			w.link("/etc/ssl/cert.pem", "certs/ca-certificates.crt")
		}, []string{"/etc/ssl/certs"}, []string{"/etc/ssl/certs/ca-certificates.crt"}, nil},
		"nothing": {func(*world) {}, nil, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c.plant(w)
			p := w.build(w.options())
			same(t, "hashed", paths(p, hashedKind), c.hashed)
			same(t, "bundles", paths(p, bundleKind), c.files)
			same(t, "anchors", paths(p, anchorKind), c.anchors)
			same(t, "warnings", p.Warnings, nil)
		})
	}
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func TestPackageBundlesAreFound(t *testing.T) {
	w := newWorld(t)
	site := "/lib/python3.11/site-packages/"
	want := []string{
		"/usr/lib/python3/dist-packages/pip/_vendor/certifi/cacert.pem",
		"/usr/local/lib/python3.12/dist-packages/certifi/cacert.pem",
		"/usr/local" + site + "grpc/_cython/_credentials/roots.pem",
		"/home/u/.local" + site + "certifi/cacert.pem",
		"/venv/elsewhere" + site + "botocore/cacert.pem",
		"/home/u/.pyenv/versions/3.11.7" + site + "certifi/cacert.pem",
		"/home/u/.pyenv/versions/3.12.1" + site + "httplib2/cacerts.txt",
		"/home/u/miniconda3" + site + "certifi/cacert.pem",
		"/home/u/miniconda3/ssl/cacert.pem",
		"/home/u/miniconda3/envs/ml/ssl/cacert.pem",
		"/home/u/project/.venv" + site + "certifi/cacert.pem",
		"/home/u/project/odd*[name" + site + "certifi/cacert.pem",
		"/home/u/project/service/.venv" + site + "certifi/cacert.pem",
	}
	for _, name := range want {
		w.file(name, "x")
	}
	w.file("/home/u/project/a/b/.venv"+site+"certifi/cacert.pem", "too deep")
	o := w.options()
	o.Env = []string{"PATH=/bin", "VIRTUAL_ENV=/venv/elsewhere/", "JAVA_HOME=relative"}
	p := w.build(o)
	got := paths(p, bundleKind)
	slices.Sort(got)
	slices.Sort(want)
	same(t, "bundles", got, want)
	same(t, "warnings", p.Warnings, nil)
}

// P11: what a user can plant is skipped, with one warning naming it.
func TestPlantedTargetsAreSkipped(t *testing.T) {
	w := newWorld(t)
	w.file("/root/victim.pem", "victim")
	w.open("/home/u/project")
	at := func(env, name string) string {
		return "/home/u/project/" + env + "/lib/python3.11/site-packages/certifi" + name
	}
	w.link(at("a", "/cacert.pem"), "/root/victim.pem")
	w.mkdir(at("b", ""), at("c", "/cacert.pem"), at("d", "")[:len(at("d", ""))-len("/certifi")])
	w.check(unix.Mkfifo(w.at(at("b", "/cacert.pem")), 0o666))
	w.link(at("d", ""), "/root")
	w.mkdir("/home/u/project/svc", at("e", ""))
	w.link("/home/u/project/svc/.venv", "/home/u/project/a")
	w.link(at("e", "/cacert.pem"), "/proc/self/fd/0")
	w.link("/home/u/project/quiet", "/root")
	p := w.build(w.options())
	same(t, "targets", paths(p, bundleKind), nil)
	for _, part := range []string{at("a", "/cacert.pem"), at("b", "/cacert.pem"), at("c", "/cacert.pem"), at("d", ""), at("e", "/cacert.pem"), "/svc/.venv"} {
		if !warned(p, `skip "`, part) {
			t.Errorf("no warning about %s in %q", part, p.Warnings)
		}
	}
	if warned(p, "quiet") {
		t.Error("a link that no pattern names is news")
	}
}

func TestSystemTargetsOfTheWrongKindAreSkipped(t *testing.T) {
	w := newWorld(t)
	w.mkdir("/etc/ssl/cert.pem", "/etc/pki/tls")
	w.check(unix.Mkfifo(w.at("/etc/ssl/ca-bundle.pem"), 0o644))
	w.file("/etc/pki/tls/certs", "a file")
	w.open("/etc/ssl/certs")
	p := w.build(w.options())
	if len(p.targets) != 0 || len(p.Warnings) != 4 {
		t.Fatalf("%d targets, warnings %q", len(p.targets), p.Warnings)
	}
}

func TestScanIsBounded(t *testing.T) {
	t.Run("directories", func(t *testing.T) {
		w := newWorld(t)
		for i := range maxDirectories + 10 {
			w.mkdir(fmt.Sprintf("/home/u/project/v%04d/lib", i))
		}
		if p := w.build(w.options()); !warned(p, "ended after") {
			t.Fatalf("warnings %q", p.Warnings)
		}
	})
	t.Run("targets", func(t *testing.T) {
		w := newWorld(t)
		for i := range maxTargets + 10 {
			w.file(fmt.Sprintf("/home/u/project/v%04d/ssl/cacert.pem", i), "x")
		}
		p := w.build(w.options())
		if len(p.targets) != maxTargets || !warned(p, "the first 256 trust stores") {
			t.Fatalf("%d targets, warnings %q", len(p.targets), p.Warnings)
		}
	})
	t.Run("names", func(t *testing.T) {
		w := newWorld(t)
		for i := range maxNames + 10 {
			w.file(fmt.Sprintf("/home/u/project/f%05d", i), "")
		}
		if p := w.build(w.options()); !warned(p, "only 2048 names") {
			t.Fatalf("warnings %q", p.Warnings)
		}
	})
}

func TestPatternsAreSane(t *testing.T) {
	const maxGlobs = 3 // a pattern branches no deeper
	all := slices.Concat(bundles, hashedDirectories, anchorDirectories, javaStores, looseBundles)
	for _, name := range all {
		if !strings.HasPrefix(name, "/") || strings.Contains(name, "*") {
			t.Errorf("fixed path %q", name)
		}
	}
	p := &Plan{options: Options{Home: "/h", Dir: "/d", Env: []string{"VIRTUAL_ENV=/v", "CONDA_PREFIX=/c", "JAVA_HOME=/j"}}}
	for _, pattern := range slices.Concat(javaHomes, pythonPrefixes, systemLibraries) {
		full := pattern + "/" + prefixLibrary
		if dir, _, ok := p.base(full); !ok || strings.Contains(dir, "*") || strings.Count(full, "*") > maxGlobs {
			t.Errorf("pattern %q", full)
		}
	}
}

func TestBasesThatAreNotAbsoluteAreNone(t *testing.T) {
	p := &Plan{options: Options{Env: []string{"VIRTUAL_ENV=venv"}}}
	for _, pattern := range []string{"~/x", "./x", "$VIRTUAL_ENV/x", "$UNSET/x", "plain/x"} {
		if dir, _, ok := p.base(pattern); ok {
			t.Errorf("%s starts at %q", pattern, dir)
		}
	}
}

// The root as a home or working directory says nothing that a user has to read.
func TestTheRootIsNobodysProject(t *testing.T) {
	w := newWorld(t)
	o := w.options()
	o.Home, o.Dir = "/", "/"
	o.Env = []string{"VIRTUAL_ENV=/", "JAVA_HOME=//"}
	same(t, "warnings", w.build(o).Warnings, nil)
}
