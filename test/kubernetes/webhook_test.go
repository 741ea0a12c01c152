// SPDX-License-Identifier: Apache-2.0

package kubernetes

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admission "k8s.io/api/admission/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/phantom-ns/phantom-ns/enforcer/node/cdi"
	"github.com/phantom-ns/phantom-ns/enforcer/node/webhook"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

const service = "phantom-ns-webhook.phantom-ns.svc"

// mounted writes files as the kubelet does: behind two links, of which one is
// replaced for all of them at once.
func mounted(t *testing.T, files map[string]string, mode os.FileMode) string {
	t.Helper()
	dir := t.TempDir()
	inner := filepath.Join(dir, "..2026_11_22")
	err := errors.Join(os.Mkdir(inner, 0o755), os.Symlink("..2026_11_22", filepath.Join(dir, "..data")))
	for name, text := range files {
		err = errors.Join(err, os.WriteFile(filepath.Join(inner, name), []byte(text), mode), os.Symlink("..data/"+name, filepath.Join(dir, name)))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// certificate is what cert-manager would put into a Secret.
func certificate(t *testing.T) (dir string, roots *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{service}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(public)
	return mounted(t, map[string]string{
		"tls.crt": string(public), "tls.key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
	}, 0o440), roots
}

// webhookOf serves the ConfigMaps of the chart, and answers as a client of it.
func webhookOf(t *testing.T, values string) func(admission.AdmissionReview) *admission.AdmissionResponse {
	t.Helper()
	o := decoded(t, values)
	source := webhook.Source{
		Policies: mounted(t, o.configs["phantom-ns-policies"].Data, 0o444),
		Grants:   filepath.Join(mounted(t, o.configs["phantom-ns"].Data, 0o444), "grants.json"),
		Seed:     filepath.Join(mounted(t, map[string]string{"seed": strings.Repeat("s", 32)}, 0o440), "seed"),
	}
	dir, roots := certificate(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	go func() {
		ended <- webhook.New(source, cdi.Layout{}, func() bool { return true }, log).Serve(ctx, l, webhook.Files(dir))
	}()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: service}}}
	t.Cleanup(func() {
		client.CloseIdleConnections()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return func(review admission.AdmissionReview) *admission.AdmissionResponse {
		t.Helper()
		body, err := json.Marshal(review)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := client.Post("https://"+l.Addr().String()+"/mutate?timeout=10s", "application/json", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		var got admission.AdmissionReview
		decoder := json.NewDecoder(answer.Body)
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&got); err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("%s: %v", answer.Status, err)
		}
		if got.APIVersion != review.APIVersion || got.Kind != review.Kind || got.Response.UID != review.Request.UID {
			t.Errorf("another review is answered: %+v", got)
		}
		return got.Response
	}
}

func reviewOf(t *testing.T, namespace string, pod, old *core.Pod) admission.AdmissionReview {
	t.Helper()
	r := admission.AdmissionReview{
		TypeMeta: meta.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request: &admission.AdmissionRequest{
			UID: "705ab4f5-6393-11e8-b7cc-42010a800002", Operation: admission.Create, Namespace: namespace,
			Kind: meta.GroupVersionKind{Version: "v1", Kind: "Pod"}, Resource: meta.GroupVersionResource{Version: "v1", Resource: "pods"},
			Object: runtime.RawExtension{Raw: raw(t, pod)},
		},
	}
	if old != nil {
		r.Request.Operation, r.Request.OldObject = admission.Update, runtime.RawExtension{Raw: raw(t, old)}
	}
	return r
}

func raw(t *testing.T, pod *core.Pod) []byte {
	t.Helper()
	data, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func podOf(t *testing.T, text string) *core.Pod {
	t.Helper()
	pod := new(core.Pod)
	if err := yaml.UnmarshalStrict([]byte(text), pod); err != nil {
		t.Fatal(err)
	}
	return pod
}

const agent = `
apiVersion: v1
kind: Pod
metadata: {name: agent, labels: {phantom-ns.dev/policy: coder}}
spec:
  initContainers: [{name: first, image: node}]
  containers:
    - {name: agent, image: node, env: [{name: HOME, value: /work}], volumeMounts: [{name: work, mountPath: /work}]}
    - {name: sidecar, image: node}
  volumes: [{name: work, emptyDir: {}}]
`

// patched is the pod after the API server's own patching, strictly read.
func patched(t *testing.T, pod *core.Pod, answer *admission.AdmissionResponse) *core.Pod {
	t.Helper()
	if !answer.Allowed || *answer.PatchType != admission.PatchTypeJSONPatch {
		t.Fatalf("%+v", answer)
	}
	patch, err := jsonpatch.DecodePatch(answer.Patch)
	if err != nil {
		t.Fatal(err)
	}
	data, err := patch.Apply(raw(t, pod))
	if err != nil {
		t.Fatal(err)
	}
	after := new(core.Pod)
	if err := yaml.UnmarshalStrict(data, after); err != nil {
		t.Fatal(err)
	}
	return after
}

func TestAPodIsGivenTrustAndPlaceholders(t *testing.T) {
	ask := webhookOf(t, full)
	pod := podOf(t, agent)
	after := patched(t, pod, ask(reviewOf(t, "team-a", pod, nil)))
	if after.Annotations["phantom-ns.dev/policy"] != "coder" {
		t.Error("the plugin would not know the policy")
	}
	sources := map[string]string{}
	for _, v := range after.Spec.Volumes {
		if v.HostPath != nil {
			sources[v.Name] = v.HostPath.Path
		}
	}
	for _, c := range slices.Concat(after.Spec.InitContainers, after.Spec.Containers) {
		if !slices.Contains(c.Env, core.EnvVar{Name: "OPENAI_API_KEY", Value: "OPENAI_API_KEY"}) {
			t.Errorf("%s has no placeholder: %v", c.Name, c.Env)
		}
		for _, want := range (cdi.Layout{}).Mounts("coder") {
			if !slices.ContainsFunc(c.VolumeMounts, func(m core.VolumeMount) bool {
				return m.MountPath == want.Target && sources[m.Name] == want.Source && m.ReadOnly && m.SubPath == ""
			}) {
				t.Errorf("%s does not mount %s at %s", c.Name, want.Source, want.Target)
			}
		}
	}
	if main := after.Spec.Containers[0]; main.Env[0].Name != "HOME" || main.VolumeMounts[0].Name != "work" {
		t.Errorf("what was there is gone: %+v", main)
	}
	// Asked again, as after another webhook's change, it adds nothing.
	if again := ask(reviewOf(t, "team-a", after, nil)); !again.Allowed || again.Patch != nil {
		t.Errorf("a second time: %s", again.Patch)
	}
	// A debugger that joins it later has the same.
	debugged := after.DeepCopy()
	debugged.Spec.EphemeralContainers = []core.EphemeralContainer{{EphemeralContainerCommon: core.EphemeralContainerCommon{Name: "debugger", Image: "node"}}}
	r := reviewOf(t, "team-a", debugged, after)
	r.Request.SubResource = "ephemeralcontainers"
	with := patched(t, debugged, ask(r))
	if got := with.Spec.EphemeralContainers[0]; !slices.Equal(got.Env, after.Spec.Containers[1].Env) || len(got.VolumeMounts) != len(after.Spec.Containers[1].VolumeMounts) {
		t.Errorf("the debugger has %+v", got)
	}
}

func TestPodsAreRefusedInWords(t *testing.T) {
	ask := webhookOf(t, full)
	pod := podOf(t, agent)
	hostNetwork := pod.DeepCopy()
	hostNetwork.Spec.HostNetwork = true
	bare := pod.DeepCopy()
	bare.Labels = nil
	for want, r := range map[string]admission.AdmissionReview{
		"not granted":       reviewOf(t, "other", pod, nil),
		"hostNetwork":       reviewOf(t, "team-a", hostNetwork, nil),
		"cannot be changed": reviewOf(t, "team-a", pod, bare),
	} {
		if answer := ask(r); answer.Allowed || answer.Result.Code != http.StatusForbidden || !strings.Contains(answer.Result.Message, want) {
			t.Errorf("%q: %+v", want, answer)
		}
	}
	if answer := ask(reviewOf(t, "other", bare, nil)); !answer.Allowed || answer.Patch != nil {
		t.Errorf("a pod without a policy: %+v", answer)
	}
}

// A Secret's file is read where the values' comment says.
func TestASecretsFileIsACredential(t *testing.T) {
	dir := mounted(t, map[string]string{"key": "sk-real-0123456789abcdef\n"}, 0o400)
	for path, good := range map[string]bool{"/..data/key": true, "/key": false} {
		ref, err := secret.ParseRef("file:" + dir + path)
		if err != nil {
			t.Fatal(err)
		}
		entry, err := secret.Fetch(t.Context(), ref, secret.Env{UID: os.Getuid()})
		if (err == nil) != good || good && string(entry.Value.Reveal()) != "sk-real-0123456789abcdef" {
			t.Errorf("%s: %v", path, err)
		}
	}
}
