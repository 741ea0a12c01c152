// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/phantom-ns/phantom-ns/enforcer/node/api"
)

// saved is an attachment as it is written down, one file each. It is there
// before the attachment is answered and goes after everything else, so that
// what a crash leaves is found.
type saved struct {
	Version    int            `json:"version"`
	Attachment api.Attachment `json:"attachment"`
	Cookie     uint64         `json:"cookie"`
	Session    string         `json:"session"`
	Generation int            `json:"generation"` // which daemon's, of those that had the session
	Started    time.Time      `json:"started"`
	Stopped    bool           `json:"stopped,omitempty"`
	HostLinks  []hostLink     `json:"hostLinks,omitempty"` // where the guards are
	Own        []netip.Addr   `json:"own,omitempty"`       // which addresses are the container's
}

const savedVersion = 2

// hostLink is the host's end of a container's link.
type hostLink struct {
	Index    int    `json:"index"`
	Hardware []byte `json:"hardware,omitempty"` // of the container's end
}

// A container's id has no '@' in it, so the name can be read back.
func (c *Config) savedPath(k api.Key) string {
	return filepath.Join(c.attachments(), k.Container+"@"+k.Interface+".json")
}

func (c *Config) save(what saved) error {
	what.Version = savedVersion
	data, err := json.Marshal(what)
	if err != nil {
		return fmt.Errorf("save attachment: %w", err)
	}
	return writeDurably(c.savedPath(what.Attachment.Key()), append(data, '\n'))
}

func (c *Config) unsave(k api.Key) error { return removeFile(c.savedPath(k)) }

// maxSaved bounds one file: an attachment is at most a request.
const maxSaved = api.MaxRequest + 4096

// loadSaved returns what is written down. A file that is not one of ours, torn
// or of a daemon to come is in the errors: its session cannot be taken over.
func (c *Config) loadSaved() (all []saved, bad map[string]error, err error) {
	entries, err := os.ReadDir(c.attachments())
	if err != nil {
		return nil, nil, fmt.Errorf("read attachments: %w", err)
	}
	bad = map[string]error{}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue // begun and not finished; the next writer takes its place
		}
		path := filepath.Join(c.attachments(), e.Name())
		what, err := loadOne(path)
		if err == nil && c.savedPath(what.Attachment.Key()) != path {
			err = errors.New("it says another attachment than its name")
		}
		if err != nil {
			bad[path] = fmt.Errorf("read attachment %q: %w", e.Name(), err)
			continue
		}
		all = append(all, what)
	}
	return all, bad, nil
}

func loadOne(path string) (saved, error) {
	var what saved
	data, err := readOwn(path, maxSaved)
	if err != nil {
		return what, err
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&what); err != nil {
		return what, err
	}
	if what.Version != savedVersion {
		return what, fmt.Errorf("version %d, this program reads %d", what.Version, savedVersion)
	}
	return what, what.Attachment.Validate()
}
