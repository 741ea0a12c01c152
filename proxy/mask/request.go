// SPDX-License-Identifier: Apache-2.0

package mask

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/phantom-ns/phantom-ns/proxy/policy"
)

// Request is the first thing that the helper is told: where to look.
type Request struct {
	Home     string     `json:"home"` // absolute
	Declared []Declared `json:"declared,omitempty"`
}

// Declared is a file that a policy names for a credential.
type Declared struct {
	Path       string   `json:"path"` // absolute
	Format     string   `json:"format"`
	Field      []string `json:"field"`
	Credential string   `json:"credential"`
}

// Session is the second: what may stand in the copies.
type Session struct {
	Credentials  []policy.Credential `json:"credentials"`
	Placeholders map[string]string   `json:"placeholders"` // by credential
}

// Cover is a copy, and what it has to cover.
type Cover struct {
	Path string `json:"path"` // of a file or folder there is, without links
	UID  uint32 `json:"uid"`
	GID  uint32 `json:"gid"`
	Mode uint32 `json:"mode"` // permission bits

	Content []byte `json:"content,omitempty"` // of a file
	Folder  bool   `json:"folder,omitempty"`
	Files   []File `json:"files,omitempty"` // of a folder
}

// File is one file in the copy of a folder.
type File struct {
	Name    string `json:"name"`
	UID     uint32 `json:"uid"`
	GID     uint32 `json:"gid"`
	Mode    uint32 `json:"mode"`
	Content []byte `json:"content"`
}

// Reply is the answer.
type Reply struct {
	Covers   []Cover  `json:"covers"`
	Warnings []string `json:"warnings"` // for the person at the terminal
	Logins   []Login  `json:"logins,omitempty"`
}

// Login says that a tool keeps the login of a subscription in a file, and no
// more about it.
type Login struct {
	Provider string `json:"provider"`
	File     string `json:"file"` // as the table has it, below ~/
}

// maxReply bounds an answer, in bytes.
const maxReply = 48 << 20

// ReadReply reads the helper's answer.
func ReadReply(r io.Reader) (reply Reply, err error) {
	limited := &io.LimitedReader{R: r, N: maxReply}
	if err := json.NewDecoder(limited).Decode(&reply); err != nil {
		return reply, fmt.Errorf("read masked copies: %w", err)
	}
	return reply, nil
}

// Send writes a request or a session to the helper.
func Send(w io.Writer, what any) error {
	if err := json.NewEncoder(w).Encode(what); err != nil {
		return fmt.Errorf("tell helper what to mask: %w", err)
	}
	return nil
}
