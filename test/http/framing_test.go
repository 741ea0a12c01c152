// SPDX-License-Identifier: Apache-2.0

package http

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// leastHeads is how many distinct heads the corpus must have.
const leastHeads = 500

// workers is how many attacks are under way at once.
const workers = 8

// TestH2FramingCorpus: of each attack the upstream has no whole request, or
// the one that the agent was answered for; never the one behind it.
func TestH2FramingCorpus(t *testing.T) {
	start, b, attacks := time.Now(), newBroker(t), corpus()
	if n := distinctHeads(attacks); n < leastHeads {
		t.Fatalf("%d distinct heads, fewer than %d", n, leastHeads)
	}
	failures := make([]error, len(attacks))
	work := make(chan int)
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for i := range work {
				failures[i] = b.attempt(attacks[i], i)
			}
		})
	}
	for i := range attacks {
		work <- i
	}
	close(work)
	group.Wait()
	b.end(t)
	for i, a := range attacks {
		if err := failures[i]; err != nil {
			t.Errorf("%s %d: %v\n%.400q", a.kind, i, err, numbered(a.text, i))
		}
	}
	b.check(t, attacks)
	t.Logf("%d distinct heads in %v", distinctHeads(attacks), time.Since(start).Round(time.Millisecond))
}

func distinctHeads(attacks []attack) int {
	heads := make(map[string]bool)
	for _, a := range attacks {
		head, _, _ := strings.Cut(a.text, "\r\n\r\n")
		heads[head] = true
	}
	return len(heads)
}

func number(i int) string { return fmt.Sprintf("%0*d", len(mark), i) }

func numbered(text string, i int) string { return strings.ReplaceAll(text, mark, number(i)) }

// attempt sends an attack on a connection of its own and judges what the agent
// reads.
func (b *broker) attempt(a attack, i int) error {
	conn, err := b.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		io.WriteString(conn, numbered(a.text, i)) // cut short by a refusal
	}()
	defer func() { <-sent }()
	br := bufio.NewReader(conn)
	answer, err := http.ReadResponse(br, nil)
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return fmt.Errorf("read answer's body: %w", err)
	}
	if err := a.answered(answer, string(body)); err != nil {
		return err
	}
	return ended(conn, br, a.fate)
}

// allowed are the statuses of a refusal.
var allowed = map[int]bool{400: true, 405: true, 417: true, 421: true, 431: true, 505: true}

func (a attack) answered(answer *http.Response, body string) error {
	switch {
	case strings.Contains(body, canary):
		return fmt.Errorf("the real credential in %q", body)
	case a.fate == carried && answer.StatusCode != http.StatusOK, a.fate != carried && !allowed[answer.StatusCode]:
		return fmt.Errorf("status %d: %s", answer.StatusCode, body)
	case a.fate == refused && !answer.Close:
		return fmt.Errorf("status %d without the end of the connection", answer.StatusCode)
	}
	return nil
}

// ended wants no further answer. After a refusal the connection ends by itself;
// else the agent has to end it.
func ended(conn *tls.Conn, br *bufio.Reader, f fate) error {
	if f != refused {
		if err := conn.CloseWrite(); err != nil {
			return nil // it is closed already
		}
	}
	rest, err := io.ReadAll(br)
	if len(rest) > 0 {
		return fmt.Errorf("the connection went on: %.200q", rest)
	}
	if err != nil {
		return fmt.Errorf("read the end: %w", err)
	}
	return nil
}

// check compares what arrived upstream with the fates.
func (b *broker) check(t *testing.T, attacks []attack) {
	t.Helper()
	u, byFate, wanted := b.up, make(map[fate]int), 0
	for _, text := range u.malformed {
		t.Errorf("upstream cannot read a request: %s", text)
	}
	arrived := make(map[string][]message)
	total := 0
	for target, list := range u.requests {
		total += len(list)
		if strings.Contains(target, "smuggled") {
			t.Errorf("smuggled: %.300q", list[0].head)
		}
		_, rest, _ := strings.Cut(target, "a/")
		id := rest[:min(len(mark), len(rest))]
		arrived[id] = append(arrived[id], list...)
	}
	for i, a := range attacks {
		byFate[a.fate]++
		list := arrived[number(i)]
		switch {
		case a.fate != carried && len(list) > 0:
			t.Errorf("%s %d: upstream has %.300q", a.kind, i, list[0].head)
		case a.fate == carried:
			wanted++
			b.checkCarried(t, a, i, list)
		}
	}
	if total != wanted {
		t.Errorf("%d requests upstream, %d were accepted", total, wanted)
	}
	t.Logf("%d attacks: %d refused and closed, %d refused, %d carried as one body; upstream %d well-formed, %d cut off, %d malformed; records %v",
		len(attacks), byFate[refused], byFate[judged], byFate[carried], total, u.cut, len(u.malformed), b.records.count)
}

func (b *broker) checkCarried(t *testing.T, a attack, i int, list []message) {
	t.Helper()
	if len(list) != 1 {
		t.Errorf("%s %d: accepted, and upstream has %d requests of it\n%.300q", a.kind, i, len(list), a.text)
		return
	}
	if list[0].body != numbered(smuggled, i) {
		t.Errorf("%s %d: body %.300q", a.kind, i, list[0].body)
	}
	if strings.Count(list[0].head, canary) != 1 || strings.Contains(list[0].head, placeholder) {
		t.Errorf("%s %d: credential in %.400q", a.kind, i, list[0].head)
	}
}
