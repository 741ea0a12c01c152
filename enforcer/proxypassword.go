// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/proxy"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

// proxyPassword is what the password of the network's proxy is called among the
// credentials. No credential of a policy can have a name with a blank.
const proxyPassword = "upstream password"

var (
	// ErrPasswordInSight is returned for a password in the text of a policy
	// that others than root can read.
	ErrPasswordInSight = errors.New("the policy holds a password and others than root can read it")
	// ErrStoredPassword is returned where a policy that is not root's would
	// send a stored secret to a proxy of its choice, in the clear.
	ErrStoredPassword = errors.New("only a policy that is root's may send a stored secret to a proxy")
	// ErrPasswordHost is returned where a stored secret is not bound to the
	// proxy's host.
	ErrPasswordHost = errors.New("the stored secret is not bound to the proxy's host")
)

// inlineRef is how a helper is asked to hand on a password that stands in the
// policy: as a variable's value, which travels the same way.
const inlineRef = string(secret.KindEnv) + ":UPSTREAM_PROXY_PASSWORD"

// proxyPasswordOf is the source of the password, if the policy has one.
func proxyPasswordOf(file *policy.File) (source, bool) {
	u := file.Upstream
	switch {
	case u.From != "":
		return source{name: proxyPassword, from: u.From}, true
	case u.Password != "":
		return source{name: proxyPassword, from: inlineRef, inline: u.Password}, true
	}
	return source{}, false
}

// asPassword makes a request for a credential one for a password.
func (s source) asPassword(env *secret.Env) (err error) {
	env.AnyLength = true
	if s.inline != "" {
		env.Value, err = secret.New([]byte(s.inline))
	}
	return err
}

// checkPassword refuses a password that others can read, and a stored one that
// a policy of the user's own would send away.
func (s *supply) checkPassword(file *policy.File) error {
	u := file.Upstream
	if !s.config.Trusted && strings.HasPrefix(u.From, string(secret.KindStore)+":") {
		return fmt.Errorf("%s: upstream: %w", u.Rule, ErrStoredPassword)
	}
	if u.Password == "" {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Stat(file.Name, &st); err != nil {
		return fmt.Errorf("%s: upstream: %w", u.Rule, &os.PathError{Op: "stat", Path: file.Name, Err: err})
	}
	if st.Uid != 0 || st.Mode&0o077 != 0 {
		return fmt.Errorf("%s: upstream: %w", u.Rule, ErrPasswordInSight)
	}
	return nil
}

// checkPasswordHost lets a stored password go to the hosts alone that it was
// stored for, as any stored secret.
func checkPasswordHost(file *policy.File, known map[string]secret.Facts) error {
	if file == nil {
		return nil
	}
	name, stored := strings.CutPrefix(file.Upstream.From, string(secret.KindStore)+":")
	if !stored {
		return nil
	}
	host, _, err := net.SplitHostPort(file.Upstream.Proxy)
	if err != nil || !slices.Contains(known[name].Hosts, host) {
		return fmt.Errorf("%s: upstream: %w", file.Upstream.Rule, errors.Join(ErrPasswordHost, err))
	}
	return nil
}

// via takes the password in.
func (p *policyStage) via(pipe *os.File) (*proxy.Via, error) {
	entry := p.spec.Session.Proxy
	if entry == nil {
		return nil, nil
	}
	via := &proxy.Via{Address: entry.Address, User: entry.User}
	if !entry.Password {
		return via, nil
	}
	if pipe == nil {
		return nil, fmt.Errorf("%s: no value came", proxyPassword)
	}
	// Ignored where the pipe takes no deadline: the helper has its own.
	_ = pipe.SetReadDeadline(time.Now().Add(credentialDeadline))
	var err error
	if via.Password, err = secret.ReadPassword(pipe); err != nil {
		return nil, fmt.Errorf("%s: %w", proxyPassword, err)
	}
	return via, nil
}
