// SPDX-License-Identifier: Apache-2.0

//go:build root

package logins

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// busConfig is a user's bus where desktops have it, without activation.
const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=/run/user/%d/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>
`

// desktop is a user's session: a keyring that a password opens, a credential put
// into it, and sudo as the user calls it. With "locked" the keyring is started
// again, as after a login without its password.
const desktop = `
keyring() {
	gnome-keyring-daemon --foreground --components=secrets $2 <"$1" >/dev/null 2>&1 &
	pid=$!
	until dbus-send --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.GetNameOwner string:org.freedesktop.secrets >/dev/null 2>&1; do :; done
}
printf password >password
keyring password --unlock
secret-tool store --label=demo service api.corp.test account me <key || exit 99
rm key password
if [ "$1" = locked ]; then kill $pid; wait $pid; keyring /dev/null; fi
sudo -n "$2" run --policy /etc/phantom-ns/session.yaml -- sh -c 'curl -sS -f -H "Authorization: Bearer $DEMO_KEY" https://api.corp.test/'
status=$?
kill $pid
exit $status
`

// TestSecretServiceUnderSudo: the keyring of the user who calls sudo, by the bus
// that only that user may speak on; a locked one is named, and nothing starts.
func TestSecretServiceUnderSudo(t *testing.T) {
	for _, state := range []string{"unlocked", "locked"} {
		t.Run(state, func(t *testing.T) {
			w := rig.New(t)
			up := rig.NewUpstream(t, w.Listen)
			key := rig.CanaryOf(t, "key-", 40)
			up.Serve("api.corp.test", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "Bearer "+key {
					rw.WriteHeader(http.StatusUnauthorized)
				}
				io.WriteString(rw, "sent "+r.Header.Get("Authorization"))
			}))
			run := fmt.Sprintf("/run/user/%d", rig.UID)
			err := w.Do(func() error {
				if err := os.MkdirAll(run, 0o700); err != nil {
					return err
				}
				return os.Chown(run, rig.UID, rig.GID)
			})
			if err != nil {
				t.Fatal(err)
			}
			w.Write("/etc/sudoers.d/"+rig.User, []byte(rig.User+" ALL=(ALL) NOPASSWD: ALL\n"), 0o440)
			w.Write("/etc/shadow", append(w.Read("/etc/shadow"), rig.User+":*:20000:0:99999:7:::\n"...), 0o640)
			w.Write("/etc/phantom-ns/bus.conf", fmt.Appendf(nil, busConfig, rig.UID), 0o644)
			w.Write("/etc/phantom-ns/session.yaml", []byte("version: 1\ncredentials:\n  demo:\n    from: secret-service:api.corp.test/me\n"+
				"    env: [DEMO_KEY]\n    hosts: [api.corp.test]\n    placeholder: \"placeholder-{hex:32}\"\n"+up.Hosts()), 0o644)
			w.Give(rig.Work+"/key", []byte(key), 0o600)
			r := w.Program(rig.Session{As: &syscall.Credential{Uid: uint32(rig.UID), Gid: uint32(rig.GID)}, Env: []string{"XDG_RUNTIME_DIR=" + run}},
				"dbus-run-session", "--config-file=/etc/phantom-ns/bus.conf", "--", "sh", "-c", desktop, "desktop", state, rig.Binary(t)).Wait()
			if state == "unlocked" && (r.Exit != 0 || !strings.HasPrefix(r.Stdout, "sent Bearer placeholder-")) {
				t.Errorf("%v", r)
			}
			if state == "locked" && (r.Exit != 125 || len(up.Exchanges("")) != 0 || !strings.Contains(r.Stderr, "demo") || !strings.Contains(r.Stderr, "locked")) {
				t.Errorf("%v, %d requests", r, len(up.Exchanges("")))
			}
			oracle := rig.NewOracle(key)
			if hits := oracle.Bytes("output", r.Bytes()); len(hits) > 0 {
				t.Errorf("in the agent's reach: %v", hits)
			}
		})
	}
}
