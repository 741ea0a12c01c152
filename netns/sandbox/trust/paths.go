// SPDX-License-Identifier: Apache-2.0

package trust

// Every path below is data: where distributions and tools keep roots. A path that a host lacks
// costs one failed open. "~/" is the user's home, "./" the working directory, "$NAME/" a
// variable; "*" matches within one component.

// bundles are the system's PEM bundles. SystemRoots takes the first that is fit, so what a
// distribution generates stands before what other tools put there.
var bundles = []string{
	"/etc/ssl/certs/ca-certificates.crt",                        // Debian, Ubuntu, Alpine, Arch, Gentoo, NixOS
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",         // Fedora, RHEL
	"/etc/pki/tls/certs/ca-bundle.crt",                          // Fedora before 43, RHEL, NixOS
	"/var/lib/ca-certificates/ca-bundle.pem",                    // SUSE
	"/etc/ssl/ca-bundle.pem",                                    // SUSE
	"/etc/ca-certificates/extracted/tls-ca-bundle.pem",          // Arch
	"/etc/ssl/cert.pem",                                         // Alpine, Arch
	"/etc/ssl/certs/ca-bundle.crt",                              // NixOS, Amazon Linux
	"/etc/pki/tls/cert.pem",                                     // Fedora, RHEL: OpenSSL's default
	"/usr/lib/ssl/cert.pem",                                     // Debian: OpenSSL's default
	"/usr/share/ssl/certs/ca-bundle.crt",                        // older RHEL clones
	"/nix/var/nix/profiles/default/etc/ssl/certs/ca-bundle.crt", // Nix on another distribution
}

// hashedDirectories are searched by subject hash (OpenSSL, GnuTLS, Go).
var hashedDirectories = []string{
	"/etc/ssl/certs",
	"/etc/pki/tls/certs",
	"/etc/pki/ca-trust/extracted/pem/directory-hash", // Fedora 41
	"/var/lib/ca-certificates/openssl",               // SUSE
	"/var/lib/ca-certificates/pem",                   // SUSE
	"/etc/ca-certificates/extracted/cadir",           // Arch
	"/usr/share/ca-certificates/trust-source/cadir",  // Arch
}

// anchorDirectories are what p11-kit reads where it is the system's store, that is what GnuTLS
// and NSS use on these distributions whatever the bundles say.
var anchorDirectories = []string{
	"/etc/pki/ca-trust/source/anchors",          // Fedora, RHEL
	"/etc/ca-certificates/trust-source/anchors", // Arch
	"/etc/pki/trust/anchors",                    // SUSE
}

// javaStores are the stores distributions generate for every JVM of theirs.
var javaStores = []string{
	"/etc/ssl/certs/java/cacerts",                 // Debian, Alpine, Arch
	"/etc/pki/ca-trust/extracted/java/cacerts",    // Fedora, RHEL
	"/etc/pki/java/cacerts",                       // Fedora, RHEL
	"/var/lib/ca-certificates/java-cacerts",       // SUSE
	"/etc/ca-certificates/extracted/java/cacerts", // Arch
}

// javaHomes hold a JDK or JRE each.
var javaHomes = []string{
	"$JAVA_HOME",
	"/usr/lib/jvm/*", "/usr/lib64/jvm/*", "/usr/java/*", "/usr/local/java/*",
	"/opt/*", "/opt/java/*", "/opt/jvm/*",
	"~/.sdkman/candidates/java/*", "~/.jdks/*", "~/.gradle/jdks/*",
	"~/.asdf/installs/java/*", "~/.local/share/mise/installs/java/*",
}

// homeStores are where a JDK, a JRE 8 inside a JDK, and JetBrains' runtime keep theirs.
var homeStores = []string{"lib/security/cacerts", "jre/lib/security/cacerts", "jbr/lib/security/cacerts"}

// pythonPrefixes are what sys.prefix may be. A venv in the working directory may have any
// name; one level below only the usual ones, because every name costs a look.
var pythonPrefixes = []string{
	"/usr/local", "~/.local", "$VIRTUAL_ENV", "$CONDA_PREFIX",
	"~/.pyenv/versions/*", "~/.asdf/installs/python/*", "~/.local/share/mise/installs/python/*",
	"~/.local/share/uv/tools/*", "~/.local/share/uv/python/*",
	"~/.local/share/pipx/venvs/*", "~/.local/pipx/venvs/*",
	"~/.virtualenvs/*", "~/.local/share/virtualenvs/*", "~/.cache/pypoetry/virtualenvs/*",
	"~/miniconda3", "~/miniconda3/envs/*", "~/anaconda3", "~/anaconda3/envs/*",
	"~/miniforge3", "~/miniforge3/envs/*", "~/mambaforge", "~/mambaforge/envs/*",
	"~/micromamba", "~/micromamba/envs/*", "~/.conda/envs/*",
	"/opt/conda", "/opt/conda/envs/*", "/opt/miniconda3", "/opt/miniconda3/envs/*", "/opt/anaconda3",
	".", "./*", "./*/.venv", "./*/venv", "./*/env", "./.tox/*", "./.nox/*",
	"/usr/lib/google-cloud-sdk/platform/bundledpythonunix", "~/google-cloud-sdk/platform/bundledpythonunix",
}

// systemLibraries are where packages lie outside any prefix above.
var systemLibraries = []string{
	"/usr/lib/python3/dist-packages", "/usr/lib/python3*/site-packages", "/usr/lib64/python3*/site-packages",
	"/usr/local/lib/python3*/dist-packages", "/usr/local/lib64/python3*/site-packages",
	"/usr/lib/google-cloud-sdk/lib/third_party", "/opt/google-cloud-sdk/lib/third_party", "~/google-cloud-sdk/lib/third_party",
	"/usr/local/aws-cli/v2/*/dist", "/usr/local/aws-cli/v2/*/dist/awscli",
}

// packageBundles are relative to a library: packages that bring roots of their own.
var packageBundles = []string{
	"certifi/cacert.pem",
	"certifi/certifi/cacert.pem",
	"pip/_vendor/certifi/cacert.pem",
	"pipenv/patched/pip/_vendor/certifi/cacert.pem",
	"botocore/cacert.pem",
	"awscli/botocore/cacert.pem",
	"grpc/_cython/_credentials/roots.pem",
	"httplib2/cacerts.txt",
	"boto/cacerts/cacerts.txt",
	"stripe/data/ca-certificates.crt",
	"requests/cacert.pem",
}

// looseBundles are bundles of package managers outside any Python library.
var looseBundles = []string{
	"/home/linuxbrew/.linuxbrew/etc/ca-certificates/cert.pem",
	"/home/linuxbrew/.linuxbrew/etc/openssl@3/cert.pem",
	"/usr/share/perl5/Mozilla/CA/cacert.pem",
	"/usr/share/perl5/vendor_perl/Mozilla/CA/cacert.pem",
}

// What a prefix has: Python's packages, and conda's OpenSSL bundle.
const (
	prefixLibrary = "lib/python3*/site-packages"
	condaBundle   = "ssl/cacert.pem"
)
