// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/bpf"
	"github.com/phantom-ns/phantom-ns/enforcer"
	"github.com/phantom-ns/phantom-ns/enforcer/node"
	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
	"github.com/phantom-ns/phantom-ns/enforcer/node/cdi"
	"github.com/phantom-ns/phantom-ns/enforcer/node/members"
	"github.com/phantom-ns/phantom-ns/netns/sandbox"
	"github.com/phantom-ns/phantom-ns/netns/sandbox/trust"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

// hints say what to do next about an error, by what it wraps. Nothing here
// looks at an error's text.
var hints = []struct {
	is   error
	hint string
}{
	{errNoDaemon, "run it with sudo; members of the group phantom-ns need none where phantom-ns serve runs"},
	{errNoAccess, "run it with sudo, or have the administrator put you into the group phantom-ns, and log in anew"},
	{errNotRoot, "run it with sudo"},
	{members.ErrOwnPolicy, "name one of " + members.Policies + ", without .yaml, or leave --policy out"},
	{members.ErrWidens, "have it put into a policy of " + members.Policies + ", or run it with sudo"},
	{members.ErrOtherUser, "leave --user out, or run it with sudo"},
	{members.ErrPassphrase, "run it with sudo"},
	{errNotAdministrators, "chown root and chmod 644 the file"},
	{errProfileFixed, "leave --profile out; the policy says which profile it is for"},
	{api.ErrUnreachable, "start it: systemctl start phantom-ns, or sudo phantom-ns serve"},
	{bpf.ErrNodeBusy, "a daemon is running already; phantom-ns status asks it"},
	{node.ErrAttached, "end these containers first, or phantom-ns serve again"},
	{enforcer.ErrRootAgent, "the agent runs as the user who calls sudo; as plain root say --user NAME"},
	{enforcer.ErrNoUser, "name a user of this system with --user"},
	{enforcer.ErrNoCgroup2, "mount one: mount -t cgroup2 none /sys/fs/cgroup/unified"},
	{enforcer.ErrKernelFloor, "boot Linux 5.10 or newer"},
	{enforcer.ErrPolicyInReach, "keep it elsewhere: the agent would write the policy of its next session; /etc/phantom-ns or ~/.config are out of its reach"},
	{enforcer.ErrStoredTarget, "put hosts: into /etc/phantom-ns/policy.yaml, or into a file that belongs to root"},
	{enforcer.ErrKeyAtRest, "take the value out of that file; a key that was in a shell's history is better made anew"},
	{enforcer.ErrUncovered, "keep other programs from replacing it while a session runs; the next one covers what is there then"},
	{enforcer.ErrProxyDied, "the audit log and the lines above say what it last did; run phantom-ns gc if anything is left"},
	{cdi.ErrNoPolicy, "name a file of /etc/phantom-ns/policies without .yaml, and look with sudo phantom-ns status whether the daemon serves it"},
	{trust.ErrNoRoots, "install the distribution's package ca-certificates"},
	{enforcer.ErrPasswordInSight, "chown root and chmod 600 the policy, or say upstream: {user: NAME, password: file:/PATH}"},
	{enforcer.ErrStoredPassword, "keep it in a file of yours, mode 600, and say password: file:/PATH; or put upstream: into /etc/phantom-ns/policy.yaml"},
	{enforcer.ErrPasswordHost, "store it for that host: sudo phantom-ns secret set NAME --host HOST"},
	{enforcer.ErrPrivilegedPort, "publish on 1024 or above, or put publish: into /etc/phantom-ns/policy.yaml"},
	{unix.EADDRINUSE, "another program listens there; choose another port"},
	{enforcer.ErrNoSession, "phantom-ns ps lists those that run, with sudo everybody's"},
	{enforcer.ErrAmbiguous, "name it by more of its id"},
	{enforcer.ErrNotStopped, "it may hang in the kernel; sudo phantom-ns gc sweeps it when it is gone"},
	{sandbox.ErrInitEnded, "the lines above say what it last did; run phantom-ns gc if anything is left"},
	{sandbox.ErrNotFound, "give an absolute path, or a command that is on the user's PATH"},
	{sandbox.ErrNotExecutable, "make it executable for that user: chmod +x"},
	{errNoHosts, "name them: --host api.example.org, or --provider NAME"},
	{errNoProvider, "leave --provider out and name the hosts with --host"},
	{errNothingRead, "type or paste the credential, then press Enter"},
	{secret.ErrElsewhere, "put it where from: looks for it (systemd-creds, keyctl, secret-tool), or say from: store:NAME after sudo phantom-ns secret set NAME"},
	{secret.ErrAbsent, "sudo phantom-ns secret list names what is stored; sudo phantom-ns secret set NAME stores it"},
	{errNoTerminal, "give it on a descriptor: sudo sh -c 'phantom-ns COMMAND --passphrase-fd 3 3<FILE' (sudo itself closes descriptors)"},
	{secret.ErrWrongPassphrase, "type it again; without it the credentials have to be stored anew, after rm -r " + secret.Directory},
	{secret.ErrPassphrase, "run it at a terminal, or give the passphrase on a descriptor: sudo sh -c 'phantom-ns COMMAND --passphrase-fd 3 3<FILE' (sudo itself closes descriptors)"},
	{secret.ErrEmpty, "the source printed nothing; look at it by hand"},
	{secret.ErrLocked, "unlock the keyring in the desktop session first"},
	{secret.ErrUnset, "export it in the shell you call sudo from, or store the credential: sudo phantom-ns secret set NAME"},
	{secret.ErrUnsafe, "chown and chmod what is named, so that nobody else can change it, or read what is secret"},
	{secret.ErrNewline, "store the credential alone, on one line"},
	{secret.ErrShort, "check that the source gives the whole credential"},
	{secret.ErrNoKey, "restore the key file from a backup, or remove the store and set the credentials again"},
}

// stageHints are about a step of init's that refused.
var stageHints = map[sandbox.Stage]string{
	sandbox.StageStart:   "phantom-ns needs a root that may make namespaces: not one of a container without CAP_SYS_ADMIN",
	sandbox.StageListen:  "choose another port under forward:",
	sandbox.StageSeccomp: "take io_uring out of permit: or keep the kernel from having vsock (modprobe -r, and a line blacklist)",
	sandbox.StageMount:   "start it in a project folder of the user's, and name others to write with --write",
}

// setupHint is for whatever else keeps a session from beginning: a system call
// refused that this program always makes.
const setupHint = "sudo phantom-ns doctor tries each thing that a session needs and says what this machine lacks"

// fileHint is about a file that was named and could not be read, by us or by a
// helper.
func fileHint(err error) string {
	var path *fs.PathError
	var refusal *secret.Refusal
	switch {
	case errors.As(err, &refusal):
	case !errors.As(err, &path):
		return ""
	case strings.HasPrefix(path.Path, "/proc/"), strings.HasPrefix(path.Path, "/sys/"), strings.HasPrefix(path.Path, enforcer.StateDir):
		return "" // ours, and named by nobody
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "check who owns the file and who may read it"
	case errors.Is(err, fs.ErrNotExist):
		return "check the path"
	}
	return ""
}

// hintFor returns the hint of the first line that fits, or nothing.
func hintFor(err error) string {
	var parse *policy.ParseError
	if errors.As(err, &parse) {
		return parse.Excerpt
	}
	var resolve *policy.ResolveError
	if errors.As(err, &resolve) && resolve.Hint != "" {
		return resolve.Hint
	}
	if told, ok := errors.AsType[*api.Error](err); ok && told.Hint != "" {
		return told.Hint
	}
	for _, h := range hints {
		if errors.Is(err, h.is) {
			return h.hint
		}
	}
	var proxy *enforcer.StageError
	if errors.As(err, &proxy) && proxy.Stage == "credentials" {
		return "check the value where it is kept; for one that short, say placeholder: name, or a text with {hex:32} in it"
	}
	var stage *sandbox.StageError
	if errors.As(err, &stage) {
		return cmp.Or(stageHints[stage.Stage], setupHint)
	}
	var setup setupError
	if errors.As(err, &setup) {
		return cmp.Or(fileHint(err), setupHint)
	}
	return fileHint(err)
}

// setupError is of a session that did not begin, or was ended by us.
type setupError struct{ error }

func (s setupError) Unwrap() error { return s.error }
