// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"github.com/phantom-ns/phantom-ns/netns"
	"github.com/phantom-ns/phantom-ns/netns/sandbox/trust"
)

// nameFiles are the files that decide how names become addresses, and the
// roots that decide whom TLS clients believe.
type nameFiles struct {
	hosts, resolvConf, nsswitch, roots []byte
}

func newNameFiles() (*nameFiles, error) {
	hostname, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("read host name: %w", err)
	}
	roots, _, err := trust.SystemRoots("/")
	if err != nil {
		return nil, err
	}
	nsswitch, err := os.ReadFile("/etc/nsswitch.conf")
	if err != nil {
		nsswitch = nil // musl has none; glibc's default for the rest is files
	}
	return &nameFiles{
		hosts:      fmt.Appendf(nil, "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.0.1 %s\n", hostname),
		resolvConf: fmt.Appendf(nil, "nameserver %s\noptions timeout:2 attempts:2\n", netns.OwnAddr4),
		nsswitch:   hostsFromStub(nsswitch),
		roots:      roots,
	}, nil
}

// hostsFromStub replaces the hosts database, so that neither mdns nor resolve
// nor sss go around the stub. The other databases stay the host's.
func hostsFromStub(nsswitch []byte) []byte {
	var out bytes.Buffer
	for line := range strings.Lines(string(nsswitch)) {
		if !strings.HasPrefix(strings.TrimSpace(line), "hosts:") {
			out.WriteString(line)
		}
	}
	if out.Len() > 0 && !bytes.HasSuffix(out.Bytes(), []byte("\n")) {
		out.WriteByte('\n')
	}
	out.WriteString("hosts: files dns\n")
	return out.Bytes()
}
