// SPDX-License-Identifier: Apache-2.0

//go:build agents

package agents

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/phantom-ns/phantom-ns/test/rig"
)

// patience is how long a screen may take to show what is awaited. It ends a
// test that hangs; nothing is measured by it.
const patience = time.Minute

// terminal is a tmux window with the user's shell in it, driven in control
// mode: tmux says when something was written to the screen, so that nothing
// has to be waited for by the clock.
type terminal struct {
	*testing.T
	in    io.Writer
	lines chan string
}

// openTerminal opens a window of 100 by 30 in the world, as its user, in the
// working directory. The shell has only what is in env.
func openTerminal(tr *trial, env ...string) *terminal {
	tr.Helper()
	cmd := exec.Command("tmux", "-S", rig.Home+"/.tmux.sock", "-f", "/dev/null", "-C",
		"new-session", "-x", "100", "-y", "30", "/bin/bash", "--norc", "--noprofile")
	cmd.Dir = rig.Work
	cmd.Env = append([]string{"TERM=screen-256color", "SHELL=/bin/sh", "LANG=C.UTF-8", "PS1=$ ", "HOME=" + rig.Home, "USER=" + rig.User, path}, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: &syscall.Credential{Uid: rig.UID, Gid: rig.GID}}
	in, err := cmd.StdinPipe()
	if err != nil {
		tr.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tr.Fatal(err)
	}
	if err := tr.world.Do(cmd.Start); err != nil {
		tr.Fatal(err)
	}
	w := &terminal{T: tr.T, in: in, lines: make(chan string, 4096)}
	go func() {
		defer close(w.lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			w.lines <- scanner.Text()
		}
	}()
	tr.Cleanup(func() {
		if tr.Failed() {
			tr.Log("the screen:\n" + w.screen())
		}
		fmt.Fprintln(in, "kill-server")
		for range w.lines {
		}
		cmd.Wait()
	})
	w.block() // tmux's own answer to new-session
	return w
}

// block returns the answer to the next command.
func (w *terminal) block() []string {
	w.Helper()
	var inside bool
	var answer []string
	for line := range w.lines {
		switch {
		case strings.HasPrefix(line, "%begin "):
			inside = true
		case strings.HasPrefix(line, "%end "):
			return answer
		case strings.HasPrefix(line, "%error "):
			w.Fatalf("tmux: %q", answer)
		case inside:
			answer = append(answer, line)
		}
	}
	w.Fatal("tmux ended")
	return nil
}

func (w *terminal) command(format string, args ...any) []string {
	w.Helper()
	fmt.Fprintf(w.in, format+"\n", args...)
	return w.block()
}

// screen is what the person sees.
func (w *terminal) screen() string {
	w.Helper()
	return strings.Join(w.command("capture-pane -p"), "\n")
}

// await returns the screen when it shows all of texts.
func (w *terminal) await(texts ...string) string {
	w.Helper()
	return w.until(fmt.Sprintf("%q", texts), func(screen string) bool {
		for _, text := range texts {
			if !strings.Contains(screen, text) {
				return false
			}
		}
		return true
	})
}

// until returns the screen when it is as wanted.
func (w *terminal) until(what string, wanted func(screen string) bool) string {
	w.Helper()
	limit := time.After(patience)
	for {
		screen := w.screen()
		if wanted(screen) {
			return screen
		}
		select {
		case <-w.lines: // something happened
		case <-limit:
			w.Fatalf("the screen never showed %s", what)
		}
	}
}

// prompt waits for the shell to ask for a command.
func (w *terminal) prompt() {
	w.Helper()
	w.until("a prompt", func(screen string) bool {
		lines := strings.Split(strings.TrimSpace(screen), "\n")
		return strings.TrimSpace(lines[len(lines)-1]) == "$"
	})
}

// step is what a person does who sees a text: press keys, by tmux's names.
type step struct{ sees, presses string }

// walk answers the questions of a program until the screen shows the text
// wanted, as a person would: it presses a key when the screen has come to rest,
// because programs draw a question before they listen, and Codex ends when a
// key meets the terminal's own answers.
func (w *terminal) walk(wanted string, steps ...step) {
	w.Helper()
	limit := time.After(patience)
	for {
		screen := w.screen()
		if strings.Contains(screen, wanted) {
			return
		}
		select {
		case <-w.lines:
		case <-time.After(time.Second):
			w.answer(screen, steps)
		case <-limit:
			w.Fatalf("the screen never showed %q", wanted)
		}
	}
}

// ask types a question and waits for the answer. Enter comes when the question
// stands there: typed at once, the two look like something pasted.
func (w *terminal) ask(question, answer string) {
	w.Helper()
	w.keys("-l '" + question + "'")
	w.walk(answer, step{question, "Enter"})
}

func (w *terminal) answer(screen string, steps []step) {
	w.Helper()
	for _, s := range steps {
		if strings.Contains(screen, s.sees) {
			w.keys(s.presses)
			return
		}
	}
}

// enter types a line.
func (w *terminal) enter(text string) {
	w.Helper()
	w.keys("-l '" + strings.ReplaceAll(text, "'", `'\''`) + "'")
	w.keys("Enter")
}

// keys sends keys by tmux's names.
func (w *terminal) keys(names string) {
	w.Helper()
	w.command("send-keys %s", names)
}

// resize changes the size of the window.
func (w *terminal) resize(columns, rows int) {
	w.Helper()
	w.command("resize-window -x %d -y %d", columns, rows)
}

// mayUseSudo lets the world's user use sudo, without a password.
func (tr *trial) mayUseSudo() {
	tr.Helper()
	tr.world.Write("/etc/sudoers.d/"+rig.User, []byte(rig.User+" ALL=(ALL) NOPASSWD: ALL\n"), 0o440)
	shadow := tr.world.Read("/etc/shadow")
	tr.world.Write("/etc/shadow", append(shadow, rig.User+":*:20000:0:99999:7:::\n"...), 0o640)
}
