// SPDX-License-Identifier: Apache-2.0

package scrub

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// Errors of [Decode] and of what it returns.
var (
	// ErrUnknownCoding is a content coding that cannot be read here. A response
	// with one is not passed on.
	ErrUnknownCoding = errors.New("unknown content coding")
	// ErrBudget is a body for whose decoders there is no room.
	ErrBudget = errors.New("too many coded bodies at once")
	// ErrExpansion is a body that expands beyond [Limits].
	ErrExpansion = errors.New("body expands beyond the limit")
)

// Limits bound what decoding costs. Zero fields take the defaults.
type Limits struct {
	// Ratio is how many bytes may come of one, 200 by default. Text reaches 5
	// to 20, very regular text 100; deflate ends at 1032, so that a limit of
	// 1000 would be none for it. Each of stacked codings is held to it against
	// the bytes that came in from outside.
	Ratio int64
	// Floor is how many bytes come out before Ratio counts, 8 MiB by default:
	// the largest window of a coding here, and some milliseconds of one core.
	Floor int64
	// Size is how many bytes may come out at all; 0 by default: any number.
	// Memory does not grow with it.
	Size int64
	// Budget is what all bodies of a session may take together; nil: no bound.
	Budget *Budget
}

const (
	defaultRatio = 200
	defaultFloor = 8 << 20

	// maxCodings is how many codings may be stacked.
	maxCodings = 3
	// maxWindow is zstd's for HTTP (RFC 9659 section 3). That of brotli ends at
	// 16 MiB by its format (RFC 7932 section 9.1), that of deflate at 32 KiB.
	maxWindow = 8 << 20
	// maxRest is what may stand behind a body's own end. It is dropped.
	maxRest = 4 << 10
	// inputSize is what a decoder reads ahead at most.
	inputSize = 4 << 10
)

// Decode undoes the codings of a Content-Encoding header, all of its values, so
// that what comes out can be scrubbed. It is passed on as it is, without
// Content-Encoding and Content-Length, and not encoded anew: the agent's leg is
// the loopback, and how well a credential compresses together with what the
// agent had echoed tells the credential, byte by byte, by the length alone.
//
// Nothing is read before the first Read. Close closes body.
func Decode(codings []string, body io.ReadCloser, limits Limits) (io.ReadCloser, error) {
	names, err := parseCodings(codings)
	if err != nil {
		return nil, fmt.Errorf("decode body: %w", err)
	}
	if len(names) == 0 {
		return body, nil
	}
	reserved := int64(0)
	for _, name := range names {
		reserved += decoders[name].memory
	}
	if !limits.Budget.take(reserved) {
		return nil, fmt.Errorf("decode body: %w", ErrBudget)
	}
	limits.defaults()
	input := &meter{src: body}
	d := &decoded{body: body, input: input, closers: []func(){func() { limits.Budget.put(reserved) }}}
	var src io.Reader = input
	for i := len(names) - 1; i >= 0; i-- {
		src = &limited{src: &lazy{open: decoders[names[i]].open, src: src, input: input, owner: d}, input: input, limits: limits}
	}
	d.out = src
	return d, nil
}

func (l *Limits) defaults() {
	if l.Ratio <= 0 {
		l.Ratio = defaultRatio
	}
	if l.Floor <= 0 {
		l.Floor = defaultFloor
	}
}

// parseCodings returns the codings in the order in which they were applied.
func parseCodings(values []string) (names []string, err error) {
	for _, value := range values {
		for name := range strings.SplitSeq(value, ",") {
			name = strings.ToLower(strings.Trim(name, " \t"))
			if name == "" || name == "identity" {
				continue
			}
			if decoders[name].open == nil {
				return nil, fmt.Errorf("%w %.40q", ErrUnknownCoding, name)
			}
			names = append(names, name)
		}
	}
	if len(names) > maxCodings {
		return nil, fmt.Errorf("%w: %d on top of each other", ErrUnknownCoding, len(names))
	}
	return names, nil
}

// decoder is an open coding. Close frees what it holds.
type decoder struct {
	io.Reader
	close func()
}

// codec is how a coding is undone, and what that takes at most: the window of the
// format or maxWindow, with what the packages used here keep beside it.
type codec struct {
	open   func(io.Reader) (decoder, error)
	memory int64
}

var decoders = map[string]codec{
	"gzip":    {openGzip, 64 << 10},
	"x-gzip":  {openGzip, 64 << 10}, // RFC 9110 section 8.4.1.3
	"deflate": {openDeflate, 64 << 10},
	"br":      {openBrotli, 17 << 20},
	"zstd":    {openZstd, 2 * maxWindow},
}

func openBrotli(src io.Reader) (decoder, error) { return decoder{brotli.NewReader(src), nil}, nil }

func openGzip(src io.Reader) (decoder, error) {
	r, err := gzip.NewReader(bufio.NewReaderSize(src, inputSize))
	return decoder{r, nil}, err
}

// openDeflate takes zlib, which the name means (RFC 9110 section 8.4.1.2), and
// raw deflate, which some servers send.
func openDeflate(src io.Reader) (decoder, error) {
	br := bufio.NewReaderSize(src, inputSize)
	head, err := br.Peek(2)
	if err != nil {
		return decoder{}, err
	}
	if head[0]&0xf == 8 && (int(head[0])<<8|int(head[1]))%31 == 0 {
		r, err := zlib.NewReader(br)
		return decoder{r, nil}, err
	}
	return decoder{flate.NewReader(br), nil}, nil
}

func openZstd(src io.Reader) (decoder, error) {
	r, err := zstd.NewReader(src, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(maxWindow))
	if err != nil {
		return decoder{}, err
	}
	return decoder{r, r.Close}, nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// decoded is a body with its codings undone.
type decoded struct {
	out     io.Reader
	input   *meter
	body    io.Closer
	closers []func()
}

// Read reads the body to its own end, too: only then are there trailers, and is
// the connection good for another request.
func (d *decoded) Read(p []byte) (int, error) {
	n, err := d.out.Read(p)
	if err == io.EOF && !d.input.ended {
		if _, rest := io.CopyN(io.Discard, d.input, maxRest); rest != io.EOF {
			return n, fmt.Errorf("read behind body: %w", cmp.Or(rest, ErrExpansion))
		}
	}
	return n, err
}

// Close frees the decoders and closes the body. No Read may be under way.
func (d *decoded) Close() error {
	for _, c := range d.closers {
		c()
	}
	d.closers = nil
	return d.body.Close()
}

// lazy opens a coding at the first Read: what reads the head of a body must not
// hold the head of the response up.
type lazy struct {
	open  func(io.Reader) (decoder, error)
	src   io.Reader
	input *meter // of the body
	owner *decoded
	out   io.Reader
	err   error
}

func (l *lazy) Read(p []byte) (int, error) {
	if l.out == nil && l.err == nil {
		d, err := l.open(l.src)
		if d.close != nil {
			l.owner.closers = append(l.owner.closers, d.close)
		}
		l.out, l.err = d.Reader, err
	}
	n, err := 0, l.err
	if err == nil {
		n, err = l.out.Read(p)
		if err == io.EOF {
			return n, err
		}
	}
	switch {
	case err == nil:
		return n, nil
	case l.input.n == 0 && l.input.ended:
		return 0, io.EOF // nothing is nothing under any coding
	}
	return n, fmt.Errorf("decode body: %w", unexpected(err))
}

// meter counts what comes in.
type meter struct {
	src   io.Reader
	n     int64
	ended bool
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.src.Read(p)
	m.n += int64(n)
	m.ended = m.ended || err == io.EOF
	return n, err
}

// limited ends a decoder's output at the limits.
type limited struct {
	src    io.Reader
	input  *meter
	limits Limits
	n      int64
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.src.Read(p)
	l.n += int64(n)
	if l.n > l.limits.Floor && l.n/l.limits.Ratio > l.input.n || l.limits.Size > 0 && l.n > l.limits.Size {
		return 0, fmt.Errorf("decode body: %w", ErrExpansion)
	}
	return n, err
}
