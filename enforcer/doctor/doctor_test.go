// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/netns/sandbox"
)

// gather returns what the checks of f find.
func gather(f func(*examination)) (all []Finding) {
	x := &examination{report: func(found Finding) { all = append(all, found) }}
	f(x)
	return all
}

func TestResolverIsJudged(t *testing.T) {
	timeout := &net.DNSError{Err: "i/o timeout", IsTimeout: true}
	for name, c := range map[string]struct {
		addrs  []netip.Addr
		err    error
		status Status
		says   string
	}{
		"knows that there is none": {nil, &net.DNSError{Err: "no such host", IsNotFound: true}, OK, "answers"},
		"fake addresses":           {[]netip.Addr{netip.MustParseAddr("198.18.0.7")}, nil, Warn, "networks: [198.18.0.0/15]"},
		"fake, mapped":             {[]netip.Addr{netip.MustParseAddr("::ffff:198.19.0.7")}, nil, Warn, "fake addresses"},
		"sends people to a page":   {[]netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil, Warn, "does not exist"},
		"silent":                   {nil, timeout, Warn, "/etc/resolv.conf"},
		"broken":                   {nil, errors.New("no"), Warn, "/etc/resolv.conf"},
	} {
		found := gather(func(x *examination) { x.answered(c.addrs, c.err) })
		if len(found) != 1 || found[0].Status != c.status || !strings.Contains(found[0].Detail+found[0].Remedy, c.says) {
			t.Errorf("%s: %+v", name, found)
		}
	}
}

func runtimes(t *testing.T) (all []runtime) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(string(runtimesJSON)))
	d.DisallowUnknownFields()
	if err := d.Decode(&all); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestEveryRuntimeIsWhole(t *testing.T) {
	seen := make(map[string]bool)
	for _, r := range runtimes(t) {
		if seen[r.Name] || r.Name == "" || r.Need == "" || r.Remedy == "" || len(r.Name) > 8 {
			t.Errorf("%+v", r)
		}
		seen[r.Name] = true
		command := strings.Join(r.command(), " ")
		if !strings.Contains(command, r.host()) || strings.Contains(command, "{url}") || strings.Contains(command, "{host}") || strings.Contains(command, "{name}") {
			t.Errorf("%s: %s", r.Name, command)
		}
		if r.Swap != strings.Contains(command, agentKey) {
			t.Errorf("%s: swap is %t: %s", r.Name, r.Swap, command)
		}
	}
}

// A runtime is well when its request arrived, with the credential where it
// sent the placeholder, and it never saw the credential.
func TestTrialsAreJudged(t *testing.T) {
	up, err := newUpstream()
	if err != nil {
		t.Fatal(err)
	}
	defer up.close()
	ask := func(name, authorization string) {
		request := httptest.NewRequest(http.MethodGet, "https://"+swapHost+"/"+name+"/x", nil)
		request.Header.Set("Authorization", authorization)
		up.ServeHTTP(httptest.NewRecorder(), request)
	}
	ask("swapped", "Bearer "+up.canary)
	ask("bare", "Bearer placeholder")
	fine := answer + "\nBearer placeholder\n"
	for name, c := range map[string]struct {
		runtime runtime
		status  sandbox.Status
		out     string
		says    string // "": it is well
	}{
		"well":                {runtime{Name: "swapped", Swap: true}, sandbox.Status{}, fine, ""},
		"well, handshake":     {runtime{Name: "bare"}, sandbox.Status{}, "", ""},
		"no package there":    {runtime{Name: "bare", Any: true}, sandbox.Status{Code: 1}, "", ""},
		"never arrived":       {runtime{Name: "never", Any: true}, sandbox.Status{Code: 1}, "bad certificate\n", "exit 1: bad certificate"},
		"failed":              {runtime{Name: "bare"}, sandbox.Status{Code: 60}, "first\nlast \x1b[31mline\n", "exit 60: last [31mline"},
		"killed":              {runtime{Name: "bare", Any: true}, sandbox.Status{Signal: 9}, "", "killed"},
		"placeholder arrived": {runtime{Name: "bare", Swap: true}, sandbox.Status{}, fine, "did not get the credential"},
		"no answer":           {runtime{Name: "swapped", Swap: true}, sandbox.Status{}, "", "did not arrive"},
		"saw the credential":  {runtime{Name: "swapped", Swap: true}, sandbox.Status{}, fine + up.canary, "saw the real credential"},
	} {
		result := &trial{status: c.status}
		io.WriteString(&result.out, c.out)
		err := c.runtime.judge(result, up)
		if (err == nil) != (c.says == "") || err != nil && (!strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), up.canary)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOutputIsBounded(t *testing.T) {
	var l limited
	for range 3 {
		if n, err := l.Write(make([]byte, trialText)); n != trialText || err != nil {
			t.Fatal(n, err)
		}
	}
	if l.Len() != trialText {
		t.Errorf("kept %d bytes", l.Len())
	}
}

func TestNetworkProxyIsTried(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if found := gather(func(x *examination) { x.proxy(address) }); len(found) != 1 || found[0].Status != OK {
		t.Errorf("%+v", found)
	}
	l.Close()
	if found := gather(func(x *examination) { x.proxy(address) }); len(found) != 1 || found[0].Status != Fail || !strings.Contains(found[0].Remedy, "upstream.proxy") {
		t.Errorf("%+v", found)
	}
}
