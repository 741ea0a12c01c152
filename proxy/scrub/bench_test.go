// SPDX-License-Identifier: Apache-2.0

package scrub

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tenPairs are ten credentials of the lengths and shapes that providers use.
func tenPairs() (pairs [][2]string) {
	random := rand.New(rand.NewPCG(1, 2))
	for i, shape := range []struct {
		prefix string
		length int
	}{
		{"sk-ant-api03-", 108}, {"sk-proj-", 164}, {"ghp_", 40}, {"github_pat_", 93}, {"AIzaSy", 39},
		{"gsk_", 56}, {"hf_", 37}, {"glpat-", 26}, {"xoxb-", 56}, {"", 16},
	} {
		pairs = append(pairs, [2]string{
			shape.prefix + letters(random, shape.length-len(shape.prefix)),
			shape.prefix + letters(random, shape.length-len(shape.prefix)),
		})
		_ = i
	}
	return pairs
}

func letters(random *rand.Rand, n int) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	out := make([]byte, n)
	for i := range out {
		out[i] = alphabet[random.IntN(len(alphabet))]
	}
	return string(out)
}

// corpora are bodies without a credential.
func corpora() map[string][]byte {
	const size = 1 << 20
	random := rand.New(rand.NewPCG(3, 4))
	binary := make([]byte, size)
	for i := range binary {
		binary[i] = byte(random.Uint32())
	}
	words := strings.Fields("the quick brown fox jumps over a lazy dog and asks model for tokens in json while nothing is secret here 42 1999 true null")
	text := func(event func(w string) string) []byte {
		var b bytes.Buffer
		for b.Len() < size {
			b.WriteString(event(words[random.IntN(len(words))]))
		}
		return b.Bytes()[:size]
	}
	wrapped := func(raw []byte) []byte {
		var b bytes.Buffer
		for line := range slices.Chunk([]byte(base64.StdEncoding.EncodeToString(raw)), 76) {
			b.Write(line)
			b.WriteString("\r\n")
		}
		return b.Bytes()[:size]
	}
	return map[string][]byte{
		"binary": binary,
		"zeros":  make([]byte, size),
		"text": text(func(w string) string {
			return w + []string{" ", " ", " ", " ", " ", " ", " ", " ", ", ", "\n"}[random.IntN(10)]
		}),
		"sse": text(func(w string) string {
			return fmt.Sprintf("data: {\"id\":\"chatcmpl-%s\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" %s\\n\"},\"finish_reason\":null}]}\n\n", letters(random, 24), w)
		}),
		"json": text(func(w string) string {
			return fmt.Sprintf("  {\n    \"name\": \"%s\",\n    \"url\": \"https:\\/\\/x.test\\/%s?a=%%20b&amp;c\"\n  },\n", w, w)
		}),
		"base64":    []byte(base64.StdEncoding.EncodeToString(binary))[:size],
		"wrapped":   wrapped(binary),
		"hex":       []byte(hex.EncodeToString(binary))[:size],
		"percent":   text(func(w string) string { return "key%5B%5D=" + w + "%2F%2B&" }),
		"all-%":     text(func(string) string { return "%41%7a%2F" }),
		"all-slash": bytes.Repeat([]byte{'\\'}, size),
		"prefixes":  text(func(string) string { return "sk-ant-api03-" }),
		"near":      text(func(string) string { p := tenPairs()[0][0]; return p[:len(p)-1] + "." }),
	}
}

// cpuTime is what the thread has used. Elapsed time says little on a machine
// that others use too.
func cpuTime(b *testing.B) time.Duration {
	const rusageThread = 1
	var usage syscall.Rusage
	if err := syscall.Getrusage(rusageThread, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkScan measures what a window of each body takes, copying it included.
// The first two rows say what this machine does with memory just now.
func BenchmarkScan(b *testing.B) {
	s := scrubber(b, tenPairs()...)
	bodies := corpora()
	benchmark(b, "copy", bodies["binary"], func([]byte) {})
	benchmark(b, "IndexByte", bodies["zeros"], func(work []byte) { bytes.IndexByte(work, 1) })
	for _, name := range []string{"binary", "zeros", "text", "sse", "json", "base64", "wrapped", "hex", "percent", "all-%", "all-slash", "prefixes", "near"} {
		benchmark(b, name, bodies[name], func(work []byte) { s.scan(work, true) })
	}
}

func benchmark(b *testing.B, name string, body []byte, work func(chunk []byte)) {
	b.Run(name, func(b *testing.B) {
		room := make([]byte, windowSize)
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		begun := cpuTime(b)
		for b.Loop() {
			for chunk := range slices.Chunk(body, windowSize) {
				work(room[:copy(room, chunk)])
			}
		}
		b.ReportMetric(float64(b.N)*float64(len(body))/float64(1<<30)/(cpuTime(b)-begun).Seconds(), "GiB/cpu-s")
	})
}

func BenchmarkReader(b *testing.B) {
	s := scrubber(b, tenPairs()...)
	body := corpora()["sse"]
	src := bytes.NewReader(body)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		src.Reset(body)
		io.Copy(io.Discard, struct{ io.Reader }{s.Reader(struct{ io.Reader }{src})})
	}
}

// BenchmarkWary measures a stream that comes byte by byte and may be part of a
// credential everywhere, of one of 100 and of 1,500 bytes.
func BenchmarkWary(b *testing.B) {
	for _, size := range []int{100, 1500} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			s := scrubber(b, [2]string{letters(rand.New(rand.NewPCG(1, 1)), size), placeholder})
			setWary(s, true)
			r := s.Reader(readFunc(func(p []byte) (int, error) { return copy(p, "a"), nil }))
			io.ReadFull(r, make([]byte, 1)) // as much is held back as there can be
			for b.Loop() {
				io.ReadFull(r, make([]byte, 1))
			}
		})
	}
}
