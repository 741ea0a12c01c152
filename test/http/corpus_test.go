// SPDX-License-Identifier: Apache-2.0

package http

import (
	"fmt"
	"strconv"
	"strings"
)

// fate is what must become of an attack.
type fate int

const (
	// refused: one answer that is an error, the end of the connection without
	// the agent's help, and no whole request upstream.
	refused fate = iota
	// judged: one answer that is an error, and nothing upstream. Where the
	// request ends is beyond doubt, so the connection may go on.
	judged
	// carried: one answer of 200, and one request upstream, which has the
	// smuggled one in its body, byte for byte.
	carried
)

// attack is what one connection of the agent sends. In its text mark stands
// for its number, in as many bytes.
type attack struct {
	kind string // the combinator that made it
	text string
	fate fate
}

const mark = "@@@@@"

// smuggled is the request behind every attack. It would be admitted, were it
// ever read as one.
const smuggled = "GET /smuggled/" + mark + " HTTP/1.1\r\nHost: " + host + "\r\nAuthorization: Bearer " + placeholder + "\r\n\r\n"

const (
	lineRequest = "POST /a/" + mark + " HTTP/1.1"
	lineHost    = "Host: " + host
	lineAuth    = "Authorization: Bearer " + placeholder
)

// exact is the length of the body that is nothing but the smuggled request.
var exact = strconv.Itoa(len(smuggled))

// chunked is that body in one chunk.
var chunked = fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(smuggled), smuggled)

// corpus is every attack once.
func corpus() []attack {
	c := &collector{seen: make(map[string]bool)}
	c.lengths()
	c.codings()
	c.both()
	c.names()
	c.bytes()
	c.lineEnds()
	c.requestLines()
	c.hosts()
	c.chunks()
	c.trailers()
	c.connections()
	c.floods()
	return c.list
}

type collector struct {
	kind string
	seen map[string]bool
	list []attack
}

func (c *collector) raw(f fate, text string) {
	if !c.seen[text] {
		c.seen[text] = true
		c.list = append(c.list, attack{c.kind, text, f})
	}
}

// add is an ordinary head with more lines, and what follows it.
func (c *collector) add(f fate, after string, lines ...string) {
	all := append([]string{lineRequest, lineHost, lineAuth}, lines...)
	c.raw(f, strings.Join(all, "\r\n")+"\r\n\r\n"+after)
}

// bad spellings of Content-Length, and those that are the same number.
var (
	badLengths = []string{
		"", "+" + exact, "-" + exact, "-0", "+0", "0x5e", "0b1", "0o7", "1_0", "1e2", "1.0", "4, 4", "4,4", "0, " + exact, exact + ",",
		"," + exact, exact + ";", exact + " 0", exact + "\t0", "\"" + exact + "\"", "four", "NaN", "∞", "٤", "４", "\xa0" + exact, exact + "\xa0",
		exact + "h", "'" + exact + "'", "9999999999999999999", "18446744073709551616", "99999999999999999999999999", strings.Repeat("0", 40) + "1", "%34", "chunked",
	}
	goodLengths = []string{exact, "0" + exact, "00" + exact, " " + exact + " ", "\t" + exact + "\t"}
)

func (c *collector) lengths() {
	c.kind = "length"
	for _, v := range badLengths {
		c.add(refused, smuggled, "Content-Length: "+v)
		c.add(refused, smuggled, "content-length:"+v)
	}
	for _, v := range goodLengths {
		c.add(carried, smuggled, "Content-Length:"+v)
		c.add(carried, smuggled, "CONTENT-LENGTH:"+v)
	}
	c.kind = "two lengths"
	some := []string{exact, "0", "1", "00", "", "+1", exact + ", " + exact}
	for _, a := range some {
		for _, b := range some {
			c.add(refused, smuggled, "Content-Length: "+a, "Content-Length: "+b)
			c.add(refused, smuggled, "Content-Length: "+a, "X: y", "cONTENT-lENGTH: "+b)
		}
	}
}

var badCodings = []string{
	"", "Chunked", "CHUNKED", "chunKed", "chunked, chunked", "chunked,", ",chunked", ", chunked", "gzip, chunked", "chunked, gzip", "chunked, identity",
	"identity, chunked", "identity", "gzip", "deflate", "compress", "xchunked", "chunkedx", "chunked;q=1", "chunked;", "chunked; a=b", "\"chunked\"", "'chunked'",
	"\x0bchunked", "\x0cchunked", "chunked\x0b", "chunked\x00", "\x00chunked", "chunked\x7f", "chunked\xa0", "\xa0chunked", "\xffchunked", "chunk", "chun ked",
	"chunked chunked", "x chunked", "chunked x", "c\u200bhunked", "сhunked", "cow", "0", "trailers", "chunked\r\n ,identity", "\r\n chunked", "\r\n\tchunked",
}

func (c *collector) codings() {
	c.kind = "coding"
	for _, v := range badCodings {
		c.add(refused, chunked, "Transfer-Encoding: "+v)
		c.add(refused, smuggled, "transfer-encoding:"+v)
	}
	for _, v := range []string{"chunked", " chunked", "\tchunked", "chunked ", "  chunked \t"} {
		c.add(carried, chunked, "Transfer-Encoding:"+v)
		c.add(carried, chunked, "tRANSFER-eNCODING:"+v)
	}
	c.kind = "two codings"
	some := []string{"chunked", "identity", "", "gzip", "Chunked", "x"}
	for _, a := range some {
		for _, b := range some {
			c.add(refused, chunked, "Transfer-Encoding: "+a, "Transfer-Encoding: "+b)
			c.add(refused, chunked, "Transfer-Encoding: "+a, "X: y", "TRANSFER-ENCODING: "+b)
		}
	}
}

// both is CL.TE, TE.CL and TE.TE in either order, with the bodies that make
// either reading end in front of the smuggled request.
func (c *collector) both() {
	c.kind = "length and coding"
	lengths := []string{exact, "0", "4", "", "+4", "4, 4"}
	codings := []string{"chunked", "Chunked", "identity", "gzip, chunked", "", "x", "\x0bchunked", "chunked\x00"}
	for _, l := range lengths {
		for _, t := range codings {
			length, coding := "Content-Length: "+l, "Transfer-Encoding: "+t
			c.add(refused, "0\r\n\r\n"+smuggled, length, coding)
			c.add(refused, chunked, coding, length)
			c.add(refused, "0\r\n\r\n"+smuggled, coding, "X: y", length)
		}
	}
}

// names are fields that are almost the framing ones. Those that are a field
// name at all say nothing about the body, whose length is stated beside them.
func (c *collector) names() {
	c.kind = "name"
	harmless := []string{
		"X-Transfer-Encoding", "Transfer-Encodin", "TransferEncoding", "Transfer-Encoding-", "-Transfer-Encoding",
		"X-Content-Length", "ContentLength", "Content-Lengths", "TE", "X'", "X|", "X~", "X!", "X_Y",
	}
	for _, n := range harmless {
		c.add(carried, smuggled, n+": 0", "Content-Length: "+exact)
		c.add(carried, smuggled, "Content-Length: "+exact, n+": chunked")
		c.add(carried, chunked, n+": 0", "Transfer-Encoding: chunked")
	}
	for _, n := range []string{ // to servers that take "_" for "-"
		"Transfer_Encoding", "transfer_encoding", "TRANSFER_ENCODING", "Transfer.Encoding", "Transfer~Encoding", "_Transfer_Encoding", "Transfer-Encoding_",
		"Content_Length", "content_length", "Content.Length", "Content|Length", "Content-Length'", "Host_", "_Host", "Content_Type", "Proxy_Connection",
		"X_HTTP_Method_Override", "X_Original_URL",
	} {
		c.add(judged, smuggled, n+": 0", "Content-Length: "+exact)
		c.add(judged, smuggled, "Content-Length: "+exact, n+": chunked")
		c.add(judged, chunked, n+": 0", "Transfer-Encoding: chunked")
	}
	for _, n := range []string{"Transfer-Encoding", "Content-Length", "X", "Host"} {
		for _, bad := range []string{
			n + " ", n + "\t", " " + n, "\t" + n, n + "\x00", "\x00" + n, n + "\x0b", "\x0b" + n, n + "\xa0", n + " x", "x " + n, n + "\r", "\r" + n,
			n + "\u2010", "(" + n + ")", "\"" + n + "\"", n + "[0]", n + ";", n + ",", n + "/", n + "@", "{" + n + "}", n + "=", n + "?", "\ufeff" + n, n + "\x7f",
		} {
			c.add(refused, "0\r\n\r\n"+smuggled, "Content-Length: "+exact, bad+": chunked")
			c.add(refused, chunked, bad+": 0", "Transfer-Encoding: chunked")
		}
	}
	for _, line := range []string{"X", ":", ": x", " ", "\t", "X=y", "chunked", "GET / HTTP/1.1", "\x00", "\r"} {
		c.add(refused, smuggled, "Content-Length: "+exact, line)
		c.raw(refused, lineRequest+"\r\n"+line+"\r\n"+lineHost+"\r\n"+lineAuth+"\r\n\r\n"+smuggled)
	}
}
