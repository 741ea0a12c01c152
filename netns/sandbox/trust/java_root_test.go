// SPDX-License-Identifier: Apache-2.0

//go:build root

package trust

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const javaProbe = `import java.net.URI;
public class Probe {
	public static void main(String[] a) throws Exception {
		try (var in = URI.create(a[0]).toURL().openStream()) {
			if (!new String(in.readAllBytes()).equals("hello")) System.exit(1);
		}
	}
}`

func javaHomesHere(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/jvm/*/bin/keytool")
	must(t, err)
	seen, homes := map[string]bool{}, []string{}
	for _, name := range found {
		home, err := filepath.EvalSymlinks(filepath.Dir(filepath.Dir(name)))
		must(t, err)
		if !seen[home] {
			seen[home] = true
			homes = append(homes, home)
		}
	}
	if len(homes) == 0 {
		t.Fatal("no JDK on this machine")
	}
	return homes
}

func listed(t *testing.T, home string) int {
	t.Helper()
	out, err := client(t, nil, home+"/bin/keytool", "-list", "-cacerts", "-storepass", storePassword)
	if err != nil {
		t.Fatalf("%s: %v\n%s", home, err, out)
	}
	return strings.Count(out, "trustedCertEntry")
}

// Every JVM trusts the session and all it trusted before, by the mounts alone.
func TestJavaTrusts(t *testing.T) {
	if !inside(t) {
		return
	}
	checkJava(t)
}

// The same when the host's store is a PKCS #12 without password, as JDK 18 and later ship.
func TestJavaTrustsInPlaceOfPKCS12(t *testing.T) {
	if !inside(t) {
		return
	}
	homes := javaHomesHere(t)
	const store = "/etc/ssl/certs/java/cacerts"
	out, err := client(t, nil, homes[len(homes)-1]+"/bin/keytool", "-importkeystore",
		"-srckeystore", store, "-srcstorepass", storePassword, "-destkeystore", "/tmp/pkcs12", "-deststoretype", "pkcs12", "-deststorepass", storePassword,
		"-J-Dkeystore.pkcs12.certProtectionAlgorithm=NONE", "-J-Dkeystore.pkcs12.macAlgorithm=NONE")
	if err != nil {
		t.Fatalf("make store: %v\n%s", err, out)
	}
	data, err := os.ReadFile("/tmp/pkcs12")
	must(t, err)
	if data[0] != 0x30 {
		t.Fatal("keytool made no PKCS #12")
	}
	before, err := os.ReadFile(store)
	must(t, err)
	was, err := readStore(before)
	must(t, err)
	is, err := readStore(data)
	if err != nil || len(is) != len(was) {
		t.Fatalf("%d entries of %d, error %v", len(is), len(was), err)
	}
	must(t, unix.Mount("/tmp/pkcs12", store, "", unix.MS_BIND, ""))
	checkJava(t)
}

func checkJava(t *testing.T) {
	t.Helper()
	a := newAuthority(t, sessionName)
	url := serve(t, a)
	probe := filepath.Join(t.TempDir(), "Probe.java")
	must(t, os.WriteFile(probe, []byte(javaProbe), 0o644))
	homes := javaHomesHere(t)
	before := map[string]int{}
	for _, home := range homes {
		before[home] = listed(t, home)
		if out, err := client(t, nil, home+"/bin/java", probe, url); err == nil || !strings.Contains(out, "unable to find valid certification path") {
			t.Fatalf("%s before anything was done: %v\n%s", home, err, out)
		}
	}
	p := applied(t, hostOptions(a))
	for _, warning := range p.Warnings {
		if strings.Contains(warning, "java") {
			t.Errorf("warning: %s", warning)
		}
	}
	for _, home := range homes {
		if after := listed(t, home); after != before[home]+1 {
			t.Errorf("%s: %d entries, before %d", home, after, before[home])
		}
		if out, err := client(t, nil, home+"/bin/java", probe, url); err != nil {
			t.Errorf("%s: %v\n%s", home, err, out)
		}
	}
}
