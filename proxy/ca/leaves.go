// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"container/list"
	"crypto/tls"
	"errors"
	"sync"
	"time"
)

// MaxLeaves is how many leaves an authority keeps.
const MaxLeaves = 1024

// leaves keeps the most recently used certificates and makes each of them once
// however many ask at the same time.
type leaves struct {
	mu     sync.Mutex
	byHost map[string]*list.Element // of *entry
	recent *list.List               // front: most recently used
	making map[string]*call
}

type entry struct {
	host        string
	certificate *tls.Certificate
}

type call struct {
	done        chan struct{}
	certificate *tls.Certificate
	err         error
}

func (l *leaves) init() {
	l.byHost = make(map[string]*list.Element)
	l.recent = list.New()
	l.making = make(map[string]*call)
}

func (l *leaves) get(host string, now time.Time, mint func(string) (*tls.Certificate, error)) (*tls.Certificate, error) {
	l.mu.Lock()
	if element, ok := l.byHost[host]; ok {
		certificate := element.Value.(*entry).certificate
		if fresh(certificate.Leaf, now) {
			l.recent.MoveToFront(element)
			l.mu.Unlock()
			return certificate, nil
		}
	}
	if other, ok := l.making[host]; ok {
		l.mu.Unlock()
		<-other.done
		return other.certificate, other.err
	}
	own := &call{done: make(chan struct{}), err: errPanicked}
	l.making[host] = own
	l.mu.Unlock()

	defer l.finish(host, own)
	own.certificate, own.err = mint(host)
	return own.certificate, own.err
}

// errPanicked is what those who wait get when the one who made the leaf did not
// return.
var errPanicked = errors.New("make leaf: interrupted")

// finish keeps what was made and lets those go who wait for it.
func (l *leaves) finish(host string, own *call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.making, host)
	if own.err == nil {
		l.put(host, own.certificate)
	}
	close(own.done)
}

func (l *leaves) put(host string, certificate *tls.Certificate) {
	if element, ok := l.byHost[host]; ok {
		element.Value.(*entry).certificate = certificate
		l.recent.MoveToFront(element)
		return
	}
	l.byHost[host] = l.recent.PushFront(&entry{host: host, certificate: certificate})
	if l.recent.Len() > MaxLeaves {
		oldest := l.recent.Remove(l.recent.Back()).(*entry)
		delete(l.byHost, oldest.host)
	}
}
