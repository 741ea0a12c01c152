// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/phantom-ns/phantom-ns/enforcer"
	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
)

// idleDaemon has nothing attached and one policy, broken. Its pool is there, or
// is being started again.
func idleDaemon(t *testing.T, pool *enforcer.Pool) *Daemon {
	d := &Daemon{log: slog.New(slog.NewTextHandler(t.Output(), nil)), table: newTable(), keeper: &keeper{pool: pool}}
	d.config = Config{Run: t.TempDir(), Logger: d.log}.withDefaults()
	d.policies = newPolicies(&d.config)
	d.config.Grants = filepath.Join(d.config.Run, "grants")
	if err := os.WriteFile(d.config.Grants, []byte(`{"broken":["team"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	d.policies.byID["broken"] = &nodePolicy{name: "broken", err: errReserved}
	return d
}

// K3: whatever is asked that cannot be done has its code, and a status that
// says the same.
func TestK3RefusalsHaveTheirCode(t *testing.T) {
	const whole = `{"container":"c","interface":"eth0","namespace":"/run/netns/c","policy":"POLICY"}`
	attach := func(policy string) string { return strings.Replace(whole, "POLICY", policy, 1) }
	ofPod := func(namespace string) string {
		return strings.Replace(attach("broken"), "}", `,"pod":{"name":"p","namespace":"`+namespace+`"}}`, 1)
	}
	starting, running := idleDaemon(t, nil), idleDaemon(t, new(enforcer.Pool))
	for name, c := range map[string]struct {
		daemon           *Daemon
		method, path     string
		body, code, says string
	}{
		"nothing":                  {running, "POST", "/v1/attach", ``, api.CodeInvalid, "EOF"},
		"another type":             {running, "POST", "/v1/attach", `[]`, api.CodeInvalid, "array"},
		"an unknown key":           {running, "POST", "/v1/attach", `{"root":true}`, api.CodeInvalid, "root"},
		"a key twice":              {running, "POST", "/v1/attach", `{"policy":"a","policy":"b"}`, api.CodeInvalid, "twice"},
		"a key in capitals":        {running, "POST", "/v1/attach", `{"Policy":"a"}`, api.CodeInvalid, "Policy"},
		"two values":               {running, "POST", "/v1/attach", attach("none") + attach("none"), api.CodeInvalid, "more than one"},
		"a long one":               {running, "POST", "/v1/attach", `{"policy":"` + strings.Repeat("x", api.MaxRequest) + `"}`, api.CodeInvalid, "too long"},
		"a container that climbs":  {running, "POST", "/v1/attach", strings.Replace(whole, `"c"`, `"../c"`, 1), api.CodeInvalid, "container id"},
		"an interface with a path": {running, "POST", "/v1/attach", strings.Replace(whole, "eth0", "../eth0", 1), api.CodeInvalid, "interface name"},
		"a relative namespace":     {running, "POST", "/v1/attach", strings.Replace(whole, "/run", "run", 1), api.CodeInvalid, "absolute"},
		"a policy with a path":     {running, "POST", "/v1/attach", attach("../x"), api.CodeInvalid, "policy name"},
		"a pod without a grant":    {running, "POST", "/v1/attach", ofPod("other"), api.CodeUnknownPolicy, "not granted"},
		"a pod of no namespace":    {running, "POST", "/v1/attach", ofPod(""), api.CodeUnknownPolicy, "not granted"},
		"a pod with a grant":       {running, "POST", "/v1/attach", ofPod("team"), api.CodeUnknownPolicy, "reserved"},
		"no such policy":           {running, "POST", "/v1/attach", attach("nobody"), api.CodeUnknownPolicy, "nobody"},
		"a broken policy":          {running, "POST", "/v1/attach", attach("broken"), api.CodeUnknownPolicy, "reserved"},
		"no proxy":                 {starting, "POST", "/v1/attach", attach("broken"), api.CodeBusy, "started again"},
		"check of nothing":         {running, "POST", "/v1/check", attach("broken"), api.CodeNotFound, "no interface eth0"},
		"check of no name":         {running, "POST", "/v1/check", `{}`, api.CodeInvalid, "container id"},
		"detach of no name":        {running, "POST", "/v1/detach", `{}`, api.CodeInvalid, "container id"},
		"detach of nothing":        {running, "POST", "/v1/detach", `{"container":"c","interface":"eth0"}`, "", ""},
		"stop of nothing":          {running, "POST", "/v1/stop", `{"session":"7f3a"}`, api.CodeNotFound, "7f3a"},
		"stop of no name":          {running, "POST", "/v1/stop", `{}`, api.CodeNotFound, "no session"},
		"stored without a proxy":   {starting, "POST", "/v1/stored", `{"name":"openai"}`, api.CodeBusy, "started again"},
		"another method":           {running, "GET", "/v1/attach", ``, api.CodeInvalid, "not in version v1"},
		"another version":          {running, "POST", "/v2/attach", `{}`, api.CodeInvalid, "not in version v1"},
	} {
		t.Run(name, func(t *testing.T) {
			status, said := ask(t, c.daemon, 0, c.method, c.path, c.body)
			if said.Code != c.code || !strings.Contains(said.Message, c.says) {
				t.Errorf("said %+v", said)
			}
			if want := http.StatusOK; c.code == "" && status != want || c.code != "" && status != said.Status() {
				t.Errorf("status %d of %q", status, said.Code)
			}
		})
	}
	if n := len(running.table.keys) + len(running.table.sessions); n != 0 {
		t.Errorf("what was refused left %d things behind", n)
	}
}

// Nobody but root is told more than that there is a daemon, whatever they ask.
func TestOnlyRootIsAnswered(t *testing.T) {
	d := idleDaemon(t, new(enforcer.Pool))
	for _, uid := range []uint32{1, 1000, nobody} {
		for _, path := range []string{"POST attach", "POST check", "POST detach", "POST collect", "POST stop", "POST stored", "POST reload",
			"GET attachments", "GET policies", "GET status"} {
			method, name, _ := strings.Cut(path, " ")
			if status, said := ask(t, d, uid, method, "/v1/"+name, `{}`); status != http.StatusForbidden || said.Code != api.CodeDenied {
				t.Errorf("uid %d, %s: %d, %+v", uid, path, status, said)
			}
		}
	}
}

// ask is a request of a process with the uid.
func ask(t *testing.T, d *Daemon, uid uint32, method, path, body string) (status int, said api.Error) {
	t.Helper()
	request := httptest.NewRequest(method, path, strings.NewReader(body))
	request = request.WithContext(context.WithValue(request.Context(), peerKey{}, uid))
	answer := httptest.NewRecorder()
	d.newServer().Handler.ServeHTTP(answer, request)
	if err := json.Unmarshal(answer.Body.Bytes(), &said); err != nil {
		t.Fatalf("answer %q: %v", answer.Body, err)
	}
	return answer.Code, said
}
