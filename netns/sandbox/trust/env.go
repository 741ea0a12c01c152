// SPDX-License-Identifier: Apache-2.0

package trust

// variables are what clients read that a mount does not reach, or not in every build of them.
// A client that *adds* the file to its roots gets the CA alone, because parsing 150 roots again
// costs it start-up time; one that *replaces* its roots gets the merged bundle.
//
// Left out on purpose:
//   - SSL_CERT_DIR: the hashed directory is covered in place. Setting it makes OpenSSL, Go and
//     rustls-native-certs forget their own default, which on some hosts is a second directory.
//   - NODE_USE_SYSTEM_CA: NODE_EXTRA_CA_CERTS does the same in every Node and reads one file
//     of one certificate, where this makes Node parse the whole system store at start.
//   - JAVA_TOOL_OPTIONS: each JVM announces it on stderr, which breaks tools that parse that.
//   - npm's cafile: it replaces Node's roots, NODE_EXTRA_CA_CERTS included, in npm alone.
var variables = []struct{ name, value, reason string }{
	{"SSL_CERT_FILE", BundlePath, "OpenSSL, Go, Ruby, PHP, httpx, rustls-native-certs, uv: builds whose default path is not this host's"},
	{"NODE_EXTRA_CA_CERTS", CAPath, "Node and Bun carry their own roots; adds"},
	{"DENO_CERT", CAPath, "Deno carries its own roots; adds"},
	{"REQUESTS_CA_BUNDLE", BundlePath, "requests in a venv that the scan did not reach; replaces certifi"},
	{"PIP_CERT", BundlePath, "pip's vendored certifi; wins over a cert line in pip.conf"},
	{"AWS_CA_BUNDLE", BundlePath, "AWS CLI and SDKs; botocore carries its own roots"},
	{"HTTPLIB2_CA_CERTS", BundlePath, "httplib2 carries its own roots"},
	{"CURL_CA_BUNDLE", BundlePath, "curl built elsewhere (conda, Homebrew, static); replaces"},
	{"GIT_SSL_CAINFO", BundlePath, "git over GnuTLS ignores SSL_CERT_FILE; wins over http.sslCAInfo"},
	{"CARGO_HTTP_CAINFO", BundlePath, "cargo links its own libcurl; replaces"},
	{"UV_SYSTEM_CERTS", "1", "uv carries Mozilla's roots unless told to use the system's"},
	{"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", BundlePath, "gRPC C-core carries its own roots; replaces"},
	{"CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", BundlePath, "gcloud carries its own certifi; replaces"},
	{"NIX_SSL_CERT_FILE", BundlePath, "programs from nixpkgs look here before the system's path"},
	{"CODEX_CA_CERTIFICATE", BundlePath, "Codex reads it before SSL_CERT_FILE, also for its WebSocket"},
}

// Env returns the variables, as NAME=value, in a stable order.
func Env() []string {
	env := make([]string, 0, len(variables))
	for _, v := range variables {
		env = append(env, v.name+"="+v.value)
	}
	return env
}
