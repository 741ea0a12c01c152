// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns"
	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// ErrPrivilegedPort is returned for a port below 1024 that a policy which is
// not root's wants to take on the host.
var ErrPrivilegedPort = errors.New("only a policy that is root's may publish on a port below 1024")

// firstUserPort is where the ports begin that any user may take (the kernel's
// default of ip_unprivileged_port_start).
const firstUserPort = 1024

// published is what the proxy is handed for the ports that the policy
// publishes: their listeners, in the policy's order, and the door, which is its
// end of the pair on which it asks for sockets of the namespace.
type published struct {
	listeners []*os.File // nil: a login's, which comes later
	door      *os.File
}

// close drops the supervisor's copies.
func (p *published) close() {
	closeAll(p.listeners)
	if p.door != nil {
		p.door.Close()
	}
}

// publish opens the listeners on the host's loopback and answers at the door
// until the session closes. Where nothing is published it does nothing.
func (s *Session) publish(spec *policy.Session) (*published, error) {
	p := &published{}
	if len(spec.Publish) == 0 {
		return p, nil
	}
	for _, entry := range spec.Publish {
		if entry.Login != "" {
			p.listeners = append(p.listeners, nil)
			continue
		}
		f, err := s.openPublished(entry)
		if err != nil {
			p.close()
			return nil, fmt.Errorf("%s: publish: %w", entry.Rule, err)
		}
		p.listeners = append(p.listeners, f)
	}
	ours, theirs, err := newControlPair()
	if err != nil {
		p.close()
		return nil, err
	}
	p.door = theirs
	done := make(chan struct{})
	go func() {
		defer close(done)
		answerDoor(ours.conn, s.kernel.namespace)
	}()
	s.undo.push(func() error {
		err := ours.Close()
		<-done
		return err
	})
	return p, nil
}

// openPublished listens on the host. The policy has seen that the address is one
// of the loopback; it is asked again here, where it counts.
func (s *Session) openPublished(entry policy.Publish) (*os.File, error) {
	if !entry.Listen.Addr().IsLoopback() {
		return nil, fmt.Errorf("listen on %s: %w", entry.Listen, unix.EADDRNOTAVAIL)
	}
	if entry.Listen.Port() < firstUserPort && !s.config.Trusted {
		return nil, fmt.Errorf("listen on %s: %w", entry.Listen, ErrPrivilegedPort)
	}
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	l, err := config.Listen(context.Background(), "tcp", entry.Listen.String())
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return l.(*net.TCPListener).File()
}

// answerDoor makes sockets in the namespace for whoever asks, until the pair
// ends.
func answerDoor(conn *net.UnixConn, namespace *netns.Namespace) {
	question := make([]byte, 1)
	for {
		if n, err := conn.Read(question); err != nil || n == 0 {
			return
		}
		fd, err := socketInside(namespace, question[0])
		answer, rights := []byte{0}, []byte(nil)
		if err == nil {
			answer[0], rights = question[0], unix.UnixRights(fd)
		}
		_, _, sent := conn.WriteMsgUnix(answer, rights, nil)
		if err == nil {
			unix.Close(fd)
		}
		if sent != nil {
			return
		}
	}
}

func socketInside(namespace *netns.Namespace, family byte) (fd int, err error) {
	domain := unix.AF_INET
	if family == family6 {
		domain = unix.AF_INET6
	}
	err = namespace.Do(func() error {
		fd, err = unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
		return err
	})
	if err != nil {
		return -1, fmt.Errorf("make socket inside: %w", err)
	}
	return fd, nil
}
