// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
)

// asPlugin makes the test's own binary the plugin: skel reads the process's
// environment, standard input and namespaces.
const asPlugin = "PHANTOM_CNI_TEST_PLUGIN"

func TestMain(m *testing.M) {
	if os.Getenv(asPlugin) != "" {
		main()
	}
	os.Exit(m.Run())
}

// invocation is one call of the plugin: its environment and standard input.
type invocation struct {
	env   map[string]string
	stdin string
}

// call is an invocation of a command, with parameters that are all right.
func invoke(command, stdin string) invocation {
	return invocation{map[string]string{
		"CNI_COMMAND": command, "CNI_CONTAINERID": "box", "CNI_NETNS": "/run/netns/box", "CNI_IFNAME": "eth0", "CNI_PATH": "/opt/cni/bin",
	}, stdin}
}

// with sets a variable, or unsets it by an empty value.
func (i invocation) with(name, value string) invocation {
	i.env[name] = value
	return i
}

// answer is what the plugin printed and how it ended.
type answer struct {
	stdout string
	exit   int
}

// run starts the plugin and fails the test when it did not end by itself.
func (i invocation) run(t testing.TB) answer {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{asPlugin + "=1"}
	for name, value := range i.env {
		if value != "" {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(i.stdin), &stdout, &stderr
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if stderr.Len() > 0 {
		t.Fatalf("stderr: %s", &stderr)
	}
	return answer{stdout.String(), cmd.ProcessState.ExitCode()}
}

// failed is an error as it is printed.
type failed struct {
	CNIVersion string `json:"cniVersion"`
	Code       uint   `json:"code"`
	Msg        string `json:"msg"`
	Details    string `json:"details"`
}

// failure reads the one error that was printed.
func (a answer) failure(t testing.TB) failed {
	t.Helper()
	var f failed
	d := json.NewDecoder(strings.NewReader(a.stdout))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil || d.More() || a.exit != 1 {
		t.Fatalf("exit %d, %q: %v", a.exit, a.stdout, err)
	}
	return f
}

// daemon stands in for the node's daemon, whose real one test/cni starts: here
// each of its answers is wanted.
type daemon struct {
	socket  string
	refuse  *api.Error // to everything, where it is set
	seen    []string
	attach  api.Attachment
	collect api.Keep
}

func startDaemon(t testing.TB) *daemon {
	t.Helper()
	dir, err := os.MkdirTemp("", "cni")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d := &daemon{socket: filepath.Join(dir, "s")}
	l, err := net.Listen("unix", d.socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: d}
	done := make(chan error)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
	return d
}

func (d *daemon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/"+api.Version+"/")
	d.seen = append(d.seen, name)
	if d.refuse != nil {
		w.WriteHeader(d.refuse.Status())
		json.NewEncoder(w).Encode(d.refuse)
		return
	}
	var reply any = struct{}{}
	var err error
	switch name {
	case "attach":
		err = api.Decode(r.Body, api.MaxRequest, &d.attach)
		made := d.attach
		if made.Session = "s1"; made.Sealed {
			made.Addresses = ownAddresses
		}
		reply = made
	case "check":
		err = api.Decode(r.Body, api.MaxRequest, &d.attach)
	case "collect":
		err = api.Decode(r.Body, api.MaxCollect, &d.collect)
	case "policies":
		reply = []api.PolicyInfo{{Name: "broken", Error: "broken.yaml:3: no"}, {Name: "web"}}
	}
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		reply = api.Error{Code: api.CodeInvalid, Message: err.Error()}
	}
	json.NewEncoder(w).Encode(reply)
}

// configuration is one for the daemon, with more keys.
func (d *daemon) configuration(version, more string) string {
	return `{"cniVersion":"` + version + `","name":"pods","type":"phantom-cni","socket":"` + d.socket + `"` + more + `}`
}
