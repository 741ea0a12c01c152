// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/phantom-ns/phantom-ns/proxy/secret"
)

// answerAge is how long a package manager's answer counts: not everything that
// it reads is known to us.
const answerAge = 24 * time.Hour

// answers are what the package managers of one user answered, so that the next
// session does not wait for them. They decide what a session may read from, so
// the file lies with the store, where only root writes.
type answers struct {
	path string

	mu     sync.Mutex
	all    []answer
	change bool
}

// answer is one of them.
type answer struct {
	Ask    string    `json:"ask"`
	Stamps string    `json:"stamps"` // of the program and its files, as they were
	Output string    `json:"output"`
	Time   time.Time `json:"time"`
}

// loadAnswers returns what is known of a user's package managers: nothing where
// the file cannot be read, for they can be asked again.
func loadAnswers(uid int) *answers {
	a := &answers{path: filepath.Join(secret.Directory, fmt.Sprintf("asked-%d.json", uid))}
	if data, err := os.ReadFile(a.path); err == nil && json.Unmarshal(data, &a.all) != nil {
		a.all = nil
	}
	return a
}

func (a *answers) find(q *question) (output string, known bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	ask := strings.Join(q.registry.Ask, " ")
	for _, one := range a.all {
		age := time.Since(one.Time)
		if one.Ask == ask && one.Stamps == q.stamps && age >= 0 && age < answerAge {
			return one.Output, true
		}
	}
	return "", false
}

func (a *answers) keep(q *question, output string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	ask := strings.Join(q.registry.Ask, " ")
	a.all = slices.DeleteFunc(a.all, func(one answer) bool { return one.Ask == ask })
	a.all = append(a.all, answer{Ask: ask, Stamps: q.stamps, Output: output, Time: time.Now().UTC()})
	a.change = true
}

// save writes them down, where there is something new.
func (a *answers) save() error {
	if !a.change {
		return nil
	}
	data, err := json.MarshalIndent(a.all, "", "  ")
	if err != nil {
		return fmt.Errorf("save answers: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(a.path), 0o700); err != nil {
		return fmt.Errorf("save answers: %w", err)
	}
	temp, err := os.CreateTemp(filepath.Dir(a.path), ".asked-")
	if err != nil {
		return fmt.Errorf("save answers: %w", err)
	}
	_, err = temp.Write(data)
	if err = errors.Join(err, temp.Close()); err == nil {
		err = os.Rename(temp.Name(), a.path)
	}
	if err != nil {
		return fmt.Errorf("save answers: %w", errors.Join(err, os.Remove(temp.Name())))
	}
	return nil
}
