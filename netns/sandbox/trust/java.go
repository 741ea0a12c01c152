// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/pavlo-v-chernykh/keystore-go/v4"
	"golang.org/x/crypto/cryptobyte"
)

// storePassword is what every distribution and JDK protects its trust store with. A JVM that
// loads its default trust store gives none, and then checks nothing.
const storePassword = "changeit"

// Bounds of a store that is read: the stores of distributions hold 150 entries in 160 KiB.
const (
	maxStore   = 8 << 20
	maxEntries = 4096
)

// sessionAlias is the session CA's name in a store.
const sessionAlias = "phantom-ns-session-ca"

// An entry is one trusted certificate of a store.
type entry struct {
	alias string
	added time.Time
	der   []byte
}

// errEncrypted: a PKCS #12 store whose certificates are encrypted, as keytool writes one.
var errEncrypted = errors.New("certificates are encrypted")

// java finds every JVM's store. What a distribution generates is covered only where there is a
// JVM to read it: Fedora has a store without having Java.
func (s *scan) java() {
	made := map[inode][]byte{}
	for _, home := range javaHomes {
		s.each(home, homeStores, func(dir string) {
			for _, store := range s.having(dir, homeStores...) {
				s.store(path.Join(dir, store), made)
			}
		})
	}
	if len(made) == 0 {
		return
	}
	for _, name := range javaStores {
		s.store(name, made)
	}
}

type inode struct{ dev, ino uint64 }

func (n *node) inode() inode { return inode{n.stat.Dev, n.stat.Ino} }

// store plans the cover of one cacerts. JDKs of one distribution share a file.
func (s *scan) store(name string, made map[inode][]byte) {
	n, err := s.tree.open(name)
	if err != nil {
		s.plan.skip(name, err)
		return
	}
	defer n.release()
	cover, ok := made[n.inode()]
	if !ok {
		data, err := n.read(maxStore)
		if err != nil {
			s.plan.skip(name, err)
			return
		}
		if cover, err = s.plan.javaStore(name, data); err != nil {
			s.plan.skip(name, err)
			return
		}
		made[n.inode()] = cover
	}
	if s.room() {
		s.plan.add(n, name, javaKind, cover)
	}
}

// javaStore returns a store with the certificates of data and the session CA.
//
// It is always written as JKS. A JVM since 8 opens a store by its content, not by the type it was
// asked for: both the JKS and the PKCS12 implementation of KeyStore probe the first bytes (the
// security property keystore.type.compat, true unless an administrator turned it off). So a
// PKCS #12 cacerts, the default since JDK 18, may be covered by JKS, which has one advantage:
// its certificates are plain whatever password the reader gives, or none.
func (p *Plan) javaStore(name string, data []byte) ([]byte, error) {
	entries, err := readStore(data)
	if err != nil {
		// The roots are the host's then, which for a distribution's JVM is what it had.
		p.warn("java store %q: %v: the host's roots take its place", cut(name), err)
		entries = p.rootEntries()
	}
	ours := entry{sessionAlias, p.ca.NotBefore, p.ca.Raw}
	return writeStore(append([]entry{ours}, entries...))
}

func (p *Plan) rootEntries() []entry {
	var entries []entry
	for der := range certificates(p.options.SystemRoots) {
		entries = append(entries, entry{fmt.Sprintf("system-root-%03d", len(entries)), p.ca.NotBefore, der})
	}
	return entries
}

func writeStore(entries []entry) ([]byte, error) {
	ks := keystore.New(keystore.WithOrderedAliases())
	for i, e := range entries {
		if ks.IsTrustedCertificateEntry(e.alias) {
			// Stores compare aliases without case; no certificate may displace another.
			e.alias = fmt.Sprintf("%s-%d", e.alias, i)
		}
		err := ks.SetTrustedCertificateEntry(e.alias, keystore.TrustedCertificateEntry{
			CreationTime: e.added,
			Certificate:  keystore.Certificate{Type: "X.509", Content: e.der},
		})
		if err != nil {
			return nil, fmt.Errorf("make java store: entry %q: %w", cut(e.alias), err)
		}
	}
	var out bytes.Buffer
	if err := ks.Store(&out, []byte(storePassword)); err != nil {
		return nil, fmt.Errorf("make java store: %w", err)
	}
	return out.Bytes(), nil
}

// readStore returns the trusted certificates of a JKS or a PKCS #12 store without password.
func readStore(data []byte) ([]entry, error) {
	if bytes.HasPrefix(data, []byte{0xfe, 0xed, 0xfe, 0xed}) {
		return readJKS(data)
	}
	return readPKCS12(data)
}

var errJKS = errors.New("malformed JKS")

// readJKS reads what keystore-go would read, for two reasons: that package allocates what the
// file's length fields say, up to 4 GiB, and the file may be the user's; and it insists on the
// password's digest, which a JVM does not check. Private keys are passed over.
func readJKS(data []byte) ([]entry, error) {
	s := cryptobyte.String(data)
	var magic, version, count uint32
	if !s.ReadUint32(&magic) || !s.ReadUint32(&version) || !s.ReadUint32(&count) {
		return nil, errJKS
	}
	if version != 1 && version != 2 || count > maxEntries {
		return nil, errJKS
	}
	var entries []entry
	for range count {
		e, trusted, ok := readJKSEntry(&s, version)
		if !ok {
			return nil, errJKS
		}
		if trusted {
			entries = append(entries, e)
		}
	}
	return entries, nil
}

func readJKSEntry(s *cryptobyte.String, version uint32) (e entry, trusted, ok bool) {
	const key, certificate = 1, 2
	var tag uint32
	var alias cryptobyte.String
	var millis uint64
	if !s.ReadUint32(&tag) || !s.ReadUint16LengthPrefixed(&alias) || !s.ReadUint64(&millis) {
		return e, false, false
	}
	e = entry{alias: strings.ToValidUTF8(string(alias), "_"), added: time.UnixMilli(int64(millis))}
	switch tag {
	case certificate:
		e.der, ok = readJKSCertificate(s, version)
		return e, ok, ok
	case key:
		return e, false, skipJKSKey(s, version)
	}
	return e, false, false
}

func readJKSCertificate(s *cryptobyte.String, version uint32) ([]byte, bool) {
	var kind cryptobyte.String
	if version == 2 && !s.ReadUint16LengthPrefixed(&kind) {
		return nil, false
	}
	der, ok := readLong(s)
	return der, ok && len(der) > 0
}

func skipJKSKey(s *cryptobyte.String, version uint32) bool {
	var chain uint32
	if _, ok := readLong(s); !ok || !s.ReadUint32(&chain) || chain > maxEntries {
		return false
	}
	for range chain {
		if _, ok := readJKSCertificate(s, version); !ok {
			return false
		}
	}
	return true
}

// readLong reads bytes after a 32-bit length, a length that cryptobyte has no method for.
func readLong(s *cryptobyte.String) ([]byte, bool) {
	var size uint32
	var value []byte
	if !s.ReadUint32(&size) || int64(size) > int64(len(*s)) {
		return nil, false
	}
	return value, s.ReadBytes(&value, int(size))
}
