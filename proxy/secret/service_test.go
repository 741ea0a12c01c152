// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"context"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"
)

func TestSecretServiceAgainstAFake(t *testing.T) {
	c := newCanary(t)
	iv := []byte("0123456789abcdef")
	for name, b := range map[string]*struct {
		bus  fakeBus
		want error
	}{
		"unlocked":               {fakeBus{open: 1}, nil},
		"unlocks without asking": {fakeBus{locked: 1}, nil},
		"prompt accepted":        {fakeBus{locked: 1, prompt: "accepted"}, nil},
		"prompt dismissed":       {fakeBus{locked: 1, prompt: "dismissed"}, ErrLocked},
		"prompt forged":          {fakeBus{locked: 1, prompt: "forged"}, ErrLocked},
		"locked after all":       {fakeBus{open: 1, getError: errorIsLocked}, ErrLocked},
		"nothing":                {fakeBus{}, ErrAbsent},
		"two":                    {fakeBus{open: 2}, ErrAmbiguous},
		"one and one locked":     {fakeBus{open: 1, locked: 1}, ErrAmbiguous},
		"no service":             {fakeBus{noOwner: true}, ErrNoService},
		"weak number":            {fakeBus{open: 1, public: []byte{1}}, errHandshake},
		"p-1":                    {fakeBus{open: 1, public: new(big.Int).Sub(group, big.NewInt(1)).Bytes()}, errHandshake},
		"plain answer":           {fakeBus{open: 1, public: ""}, errHandshake},
		"other session": {fakeBus{open: 1, sealed: func(key []byte) sealedSecret {
			return sealedSecret{"/other", iv, encrypt(key, iv, c), ""}
		}}, errHandshake},
		"in the clear": {fakeBus{open: 1, sealed: func([]byte) sealedSecret {
			return sealedSecret{"/org/freedesktop/secrets/session/s1", nil, c, ""}
		}}, errHandshake},
		"trailing newline": {fakeBus{open: 1, sealed: func(key []byte) sealedSecret {
			return sealedSecret{"/org/freedesktop/secrets/session/s1", iv, encrypt(key, iv, append([]byte(c), '\n')), ""}
		}}, nil},
		"empty": {fakeBus{open: 1, sealed: func(key []byte) sealedSecret {
			return sealedSecret{"/org/freedesktop/secrets/session/s1", iv, encrypt(key, iv, nil), ""}
		}}, ErrEmpty},
	} {
		t.Run(name, func(t *testing.T) {
			b.bus.secret = c
			address := b.bus.start(t)
			e, err := fetchAs(t, ordinary, c, "secret-service:github/me", Env{Bus: address})
			<-b.bus.done
			if !errors.Is(err, b.want) {
				t.Fatalf("%v, want %v", err, b.want)
			}
			if b.want == nil {
				c.same(t, e.Value)
				if a := b.bus.attributes; len(a) != 2 || a["service"] != "github" || a["account"] != "me" {
					t.Errorf("searched for %v", a)
				}
			}
			if b.bus.plain {
				t.Error("asked for a session in the clear")
			}
		})
	}
}

func TestSecretServiceErrorShowsTheNameOnly(t *testing.T) {
	c := newCanary(t)
	b := fakeBus{secret: c, open: 1, getError: "org.example.Broken"}
	_, err := fetchAs(t, ordinary, c, "secret-service:github/me", Env{Bus: b.start(t)})
	if err == nil || !strings.HasSuffix(err.Error(), `get secret: "org.example.Broken"`) {
		t.Errorf("%v", err)
	}
}

func TestSecretServicePromptNoOneAnswers(t *testing.T) {
	b := fakeBus{locked: 1, prompt: "never"}
	address := b.start(t)
	_, err := fetchAs(t, ordinary, nil, "secret-service:github/me", Env{Bus: address, Timeout: 200 * time.Millisecond})
	if !errors.Is(err, ErrLocked) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no one answered its prompt") {
		t.Errorf("%v", err)
	}
	select {
	case <-b.dismissed:
	case <-time.After(10 * time.Second):
		t.Error("the prompt was left on the user's screen")
	}
}

func TestSecretServiceBusThatHangsOrIsNone(t *testing.T) {
	b := fakeBus{silent: true}
	began := time.Now()
	_, err := fetchAs(t, ordinary, nil, "secret-service:github/me", Env{Bus: b.start(t), Timeout: 100 * time.Millisecond})
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 5*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
	for _, address := range []string{"unix:path=/nonexistent/bus", "unixexec:path=/bin/sh", "tcp:host=127.0.0.1,port=1", "autolaunch:", "/run/bus"} {
		_, err := fetchAs(t, ordinary, nil, "secret-service:github/me", Env{Bus: address})
		if err == nil || strings.HasPrefix(address, "unix:") != errors.Is(err, ErrNoService) {
			t.Errorf("%s: %v", address, err)
		}
	}
}
