// SPDX-License-Identifier: Apache-2.0

//go:build containers

package containers

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/phantom-ns/phantom-ns/enforcer/node/cdi"
)

// homes are where images keep a Java, and what a client of it says there.
const (
	temurin   = "/opt/java/openjdk"
	debian    = "/usr/lib/jvm/default-java"
	elsewhere = "/opt/elsewhere"
	told      = "/opt/told" // elsewhere, and the guide's mount over its roots
)

// testJava: Java, which has roots and a format of its own, in the layouts of
// Temurin's images and of Debian's, whose roots are a link; a Java elsewhere
// trusts nobody new until it is told as the guide says.
func (n *node) testJava(t *testing.T) {
	temurinHome, debianHome := n.java(t)
	shared := filepath.Join(cdi.SharedDir, "coder", "java-cacerts")
	p := place{policy: "coder"}
	n.open(p)
	script := `for home in ` + temurin + ` ` + debian + ` ` + elsewhere + ` ` + told + `; do
  if $home/bin/java -Xshare:auto -XX:TieredStopAtLevel=1 -cp /client Client >/tmp/out 2>&1; then echo $home: answered
  elif grep -q 'unable to find valid certification path' /tmp/out; then echo $home: not trusted
  else cat /tmp/out; fi
done`
	n.each(t, func(n *node, t *testing.T, e engine) {
		flags := e.mount(filepath.Join(n.scratch, "classes"), "/client")
		for home, at := range map[string]string{temurin: temurinHome, debian: debianHome, elsewhere: temurinHome, told: temurinHome} {
			flags = append(flags, e.mount(at, home)...)
		}
		flags = append(flags, e.mount(shared, told+"/lib/security/cacerts")...)
		want := temurin + ": answered\n" + debian + ": answered\n" + elsewhere + ": not trusted\n" + told + ": answered"
		if got := n.run(e.start(n, p, flags, "sh", "-c", script)...); got != want {
			t.Errorf("%s\nwant\n%s", got, want)
		}
	})
}

// java makes two runtimes of this machine's JDK, with what the client needs,
// and compiles the client.
func (n *node) java(t *testing.T) (temurin, debian string) {
	t.Helper()
	temurin, debian = filepath.Join(n.scratch, "temurin"), filepath.Join(n.scratch, "debian")
	for _, words := range [][]string{
		{"javac", "-d", filepath.Join(n.scratch, "classes"), "../clients/testdata/Client.java"},
		{"jlink", "--add-modules", "java.net.http,jdk.crypto.ec", "--strip-debug", "--no-header-files", "--no-man-pages", "--output", temurin},
		{"cp", "--archive", temurin, debian},
		{"ln", "--symbolic", "--force", "/etc/ssl/certs/java/cacerts", filepath.Join(debian, "lib/security/cacerts")},
	} {
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", words[0], err, out)
		}
	}
	return temurin, debian
}
