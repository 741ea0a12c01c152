// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// person types when the prompt comes, as fast as nobody does, and sees whether
// that would have been shown.
type person struct {
	t                *testing.T
	keyboard, screen *os.File
	types            string
	asked            bool
}

func (p *person) Write(prompt []byte) (int, error) {
	if !p.asked {
		p.asked = true
		if mode, err := unix.IoctlGetTermios(int(p.screen.Fd()), unix.TCGETS); err != nil || mode.Lflag&unix.ECHO != 0 {
			p.t.Errorf("asked with the echo on: %v", err)
		}
		if _, err := p.keyboard.WriteString(p.types); err != nil {
			p.t.Error(err)
		}
	}
	return len(prompt), nil
}

// TestCredentialIsAskedFor: the echo is off before the prompt is there, the whole
// line counts, however long, and the terminal is as it was.
func TestCredentialIsAskedFor(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 400) // a terminal's own line has 4095
	for name, c := range map[string]struct {
		typed, want string
		err         error
	}{
		"a line":            {"0123456789abcdef\r", "0123456789abcdef", nil},
		"a long one":        {long + "\r", long, nil},
		"mistyped":          {"0123456789abcdefg\x7f\r", "0123456789abcdef", nil},
		"nothing":           {"\r", "", ErrNoPassphrase},
		"too short":         {"0123\r", "", ErrShort},
		"Ctrl-C":            {"0123456789\x03", "", ErrInterrupted},
		"a control byte":    {"0123456789abcdef\x01\r", "", ErrControl},
		"two lines, pasted": {"0123456789abcdef\n0123456789abcdef\n", "0123456789abcdef", nil},
	} {
		t.Run(name, func(t *testing.T) {
			keyboard, terminal, err := pty.Open()
			if err != nil {
				t.Fatal(err)
			}
			defer keyboard.Close()
			defer terminal.Close()
			before, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
			if err != nil {
				t.Fatal(err)
			}
			who := &person{t: t, keyboard: keyboard, screen: terminal, types: c.typed}
			v, err := AskCredential(terminal, who, "openai: ")
			defer v.Wipe()
			if !errors.Is(err, c.err) || string(v.Reveal()) != c.want || !who.asked {
				t.Errorf("%d bytes, %v", v.Len(), err)
			}
			if after, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS); err != nil || after.Lflag != before.Lflag || after.Iflag != before.Iflag {
				t.Errorf("the terminal is another: %+v, %v", after, err)
			}
		})
	}
}
