// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestCanonicalAccepts(t *testing.T) {
	label63 := strings.Repeat("a", 63)
	long := strings.Join([]string{label63, label63, label63, strings.Repeat("b", 61)}, ".")
	for name, c := range map[string]struct{ in, want string }{
		"plain":            {"api.openai.com", "api.openai.com"},
		"N3 upper case":    {"API.OpenAI.com", "api.openai.com"},
		"N3 trailing dot":  {"api.openai.com.", "api.openai.com"},
		"single label":     {"localhost", "localhost"},
		"digits in front":  {"1password.com", "1password.com"},
		"inner hyphens":    {"r3---sn-abc.example", "r3---sn-abc.example"},
		"numeric inner":    {"1.2.3.example", "1.2.3.example"},
		"hex-like last":    {"a.0xyz", "a.0xyz"},
		"digit first last": {"a.1b", "a.1b"},
		"253 octets":       {long, long},
		"253 and a dot":    {long + ".", long},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Canonical(c.in)
			if err != nil || got != c.want {
				t.Fatalf("Canonical(%q) = %q, %v; want %q", c.in, got, err, c.want)
			}
		})
	}
}

func TestCanonicalRefuses(t *testing.T) {
	label63 := strings.Repeat("a", 63)
	for name, in := range map[string]string{
		"empty":                    "",
		"dot":                      ".",
		"two trailing dots":        "a.test..",
		"leading dot":              ".a.test",
		"empty label":              "a..test",
		"N1 NUL":                   "evil\x00.a.test",
		"N1 control":               "a\x01.test",
		"N1 space":                 "a .test",
		"N1 CR":                    "a.test\r",
		"N1 LF":                    "a.test\n",
		"N1 0x80":                  "a\x80.test",
		"N1 DEL":                   "a\x7f.test",
		"N3 percent":               "api%2eopenai.com",
		"N3 bracket":               "[a.test]",
		"N3 double bracket":        "[[a]]",
		"N3 userinfo":              "user@a.test",
		"N3 port":                  "a.test:0443",
		"N3 comma":                 "a.test,b.test",
		"N3 semicolon":             "a.test;b",
		"N3 slash":                 "a.test/",
		"N3 backslash":             `a.test\`,
		"N3 fullwidth dot":         "a．test",
		"N3 ideographic dot":       "a。test",
		"N3 fullwidth letter":      "ａ.test",
		"N3 Kelvin sign":           "\u212a.test",
		"N3 dotless i":             "ap\u0131.test",
		"N3 punycode":              "xn--80ak6aa92e.com",
		"N3 bad punycode":          "xn--.test",
		"N3 upper-case punycode":   "XN--80ak6aa92e.com",
		"N3 inner punycode":        "a.xn--p1ai.test",
		"N3 254 octets":            strings.Repeat(label63+".", 3) + strings.Repeat("b", 62),
		"N3 300 octets":            strings.Repeat("a", 300),
		"64-octet label":           label63 + "a.test",
		"leading hyphen":           "-a.test",
		"trailing hyphen":          "a-.test",
		"hyphen alone":             "a.-.test",
		"underscore":               "_dmarc.a.test",
		"wildcard":                 "*.test",
		"asterisk":                 "a*.test",
		"N6 dotted":                "127.0.0.1",
		"N6 dotted and dot":        "127.0.0.1.",
		"N6 short":                 "127.1",
		"N6 decimal":               "2130706433",
		"N6 hex":                   "0x7f000001",
		"N6 upper-case hex":        "0X7F000001",
		"N6 bare 0x":               "1.0x",
		"N6 hex last":              "127.0.0.0x1",
		"N6 octal":                 "0177.0.0.1",
		"N6 octal alone":           "017700000001",
		"N6 too large":             "4294967296",
		"N6 five parts":            "1.2.3.4.5",
		"N6 name, then number":     "a.test.1",
		"N6 IPv6":                  "::1",
		"N6 IPv6 in brackets":      "[::1]",
		"N6 zone":                  "fe80::1%lo",
		"N6 embedded IPv4":         "::ffff:127.0.0.1",
		"N6 trailing number label": "1e100.net.0",
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Canonical(in)
			if !errors.Is(err, ErrHost) {
				t.Fatalf("Canonical(%q) = %q, %v; want ErrHost", in, got, err)
			}
			if in != "" && len(in) > 3 && strings.Contains(err.Error(), in) {
				t.Errorf("the error quotes the host: %v", err)
			}
		})
	}
}

func TestCanonicalDoesNotAllocate(t *testing.T) {
	for _, host := range []string{"api.openai.com", "api.openai.com.", "a.b.c.d.e.f.example"} {
		if n := testing.AllocsPerRun(100, func() { _, _ = Canonical(host) }); n != 0 {
			t.Errorf("Canonical(%q): %v allocations", host, n)
		}
	}
}

func TestPatternCovers(t *testing.T) {
	for name, c := range map[string]struct {
		outer, inner string
		want         bool
	}{
		"same":                      {"a.test", "a.test", true},
		"N4 prefix":                 {"api.openai.com", "notapi.openai.com", false},
		"N4 suffix":                 {"api.openai.com", "api.openai.com.evil.test", false},
		"N4 apex":                   {"*.a.test", "a.test", false},
		"one label":                 {"*.a.test", "x.a.test", true},
		"two labels":                {"*.a.test", "y.x.a.test", true},
		"N4 no label boundary":      {"*.a.test", "xa.test", false},
		"wildcard in wildcard":      {"*.a.test", "*.x.a.test", true},
		"same wildcard":             {"*.a.test", "*.a.test", true},
		"wider wildcard":            {"*.x.a.test", "*.a.test", false},
		"host does not hold a star": {"x.a.test", "*.x.a.test", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := covers(c.outer, c.inner); got != c.want {
				t.Fatalf("covers(%q, %q) = %v", c.outer, c.inner, got)
			}
		})
	}
}

func TestWildcardOverTopLevelIsRefused(t *testing.T) {
	for _, text := range []string{"*.com", "*.", "*", "*.*.a.test", "**.a.test", "a.*.test", "*.1", "*a.test"} {
		if got, err := canonicalPattern(text); err == nil {
			t.Errorf("canonicalPattern(%q) = %q", text, got)
		}
	}
}

func FuzzCanonical(f *testing.F) {
	for _, seed := range []string{"api.openai.com", "API.Test.", "127.1", "0x7f.1", "xn--a", "a_b.test", "*.a.test", "a\x00b", "１.test", "-", "a.-b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		got, err := Canonical(in)
		if err != nil {
			if got != "" {
				t.Fatalf("a result %q beside an error", got)
			}
			return
		}
		if again, err := Canonical(got); err != nil || again != got {
			t.Fatalf("not stable: %q, then %q, %v", got, again, err)
		}
		if strings.ToLower(strings.TrimSuffix(in, ".")) != got {
			t.Fatalf("%q became %q", in, got)
		}
		if _, err := netip.ParseAddr(got); err == nil {
			t.Fatalf("%q is an address", got)
		}
		if strings.Trim(got, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" || len(got) > maxHost {
			t.Fatalf("%q passed", got)
		}
	})
}
