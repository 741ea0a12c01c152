// SPDX-License-Identifier: Apache-2.0

package http

import (
	"fmt"
	"strings"
)

// hosts are Host fields: none, two, and spellings of others.
func (c *collector) hosts() {
	c.kind = "host"
	end := "\r\n" + lineAuth + "\r\n" + lineLength + exact + "\r\n\r\n" + smuggled
	c.raw(refused, lineRequest+end)
	for _, v := range []string{"", " ", "\t", host + "\x00", host + "\x0b", host + "\r\n x", host + "\rx", host + "\nX: y"} {
		c.raw(refused, lineRequest+"\r\nHost:"+v+end)
	}
	for _, second := range []string{host, "evil.test", "", host + ":443"} {
		for _, name := range []string{"Host", "host", "HOST", "hOST"} {
			c.raw(refused, lineRequest+"\r\n"+lineHost+"\r\n"+name+": "+second+end)
			c.raw(refused, lineRequest+"\r\n"+name+": "+second+"\r\nX: y\r\n"+lineHost+end)
		}
	}
	for _, v := range []string{
		"evil.test", "x" + host, host + ".evil.test", host + ", evil.test", host + " evil.test", host + "\tevil.test", host + "@evil.test", "u@" + host, host + ":", host + ":0443", host + ":80",
		host + ":443x", host + ":+443", host + ":443:443", "[" + host + "]", "[::1]", "127.0.0.1", "127.1", "0x7f000001", host + "/", host + "\\", host + "?", host + "#", host + ";", "api%2eopenai.test",
		"api．openai．test", "api..openai.test", "." + host, "xn--a.test", strings.Repeat("a.", 130) + "test", "*", "*.openai.test", "https://" + host, "\xff" + host, host + "\u00a0",
	} {
		c.raw(judged, lineRequest+"\r\nHost: "+v+end)
	}
	for _, v := range []string{strings.ToUpper(host), host + ".", host + ":443", "  " + host + "\t"} {
		c.raw(carried, lineRequest+"\r\nHost: "+v+end)
	}
}

// chunks are chunked bodies that parsers end in different places.
func (c *collector) chunks() {
	c.kind = "chunk"
	const coding = "Transfer-Encoding: chunked"
	for _, size := range []string{
		"", "0x3", "+3", "-3", " 3", "3 ", "\t3", "3\t", "3;", "3;x", "3;x=y", "3 ;x", "3;x=\"\r\n\"", "3;\nx", "3\x00", "\x003", "3\x0b", "3_0", "3.0", "3,3", "g", "3g", "３", "3\r", "\r\n3", "3\n", "0\n",
		"00000000000000003", "10000000000000003", "ffffffffffffffff", "fffffffffffffffff", "8000000000000000", "100000003x", "\"3\"", "3 3", "three", "%33", "3\r\n\r", "0 ", "0;x", "0x0", "+0", "-0", "-1", " 0", "0\r\r",
	} {
		c.add(refused, size+"\r\nabc\r\n0\r\n\r\n"+smuggled, coding)
	}
	for _, end := range []string{"\n", "\r", "X\r\n", " \r\n", "\r\r\n", "\n\r\n", "\x00\r\n", "abc\r\n"} {
		c.add(refused, "3\r\nabc"+end+"0\r\n\r\n"+smuggled, coding)
		if end != "abc\r\n" { // a size
			c.add(refused, "3"+end+"abc\r\n0\r\n\r\n"+smuggled, coding)
		}
	}
	for _, tail := range []string{"0\n\n", "0\r\n\n", "0\n\r\n", "0\r\r\n\r\n", "0\r\n\r\r\n", "0;x\r\n\r\n", "0\r\n \r\n", "0\r\n" + smuggled[:20] + "\r\n\r\n"} {
		c.add(refused, "3\r\nabc\r\n"+tail+smuggled, coding)
	}
	n := len(smuggled)
	for _, size := range []string{fmt.Sprintf("%X", n), fmt.Sprintf("0%x", n), fmt.Sprintf("%015x", n)} {
		c.add(carried, size+"\r\n"+smuggled+"\r\n0\r\n\r\n", coding)
		c.add(carried, size+"\r\n"+smuggled+"\r\n000\r\n\r\n", coding)
	}
	for at := strings.Index(smuggled, mark) + len(mark); at < n; at += 5 {
		c.add(carried, fmt.Sprintf("%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", at, smuggled[:at], n-at, smuggled[at:]), coding)
	}
}

// trailers are dropped, whatever they claim, and judged before.
func (c *collector) trailers() {
	c.kind = "trailer"
	const coding = "Transfer-Encoding: chunked"
	body := strings.TrimSuffix(chunked, "\r\n")
	for _, line := range []string{
		"X: y", "Authorization: Bearer mine", lineAuth, "Content-Length: 5", "Transfer-Encoding: chunked", "Host: evil.test", "Connection: close", "Trailer: X", "Upgrade: h2c", "X: y\r\nX: z", "Expect: 100-continue",
	} {
		c.add(carried, body+line+"\r\n\r\n", coding)
		c.add(carried, body+line+"\r\n\r\n", coding, "Trailer: X, Authorization, Content-Length", "TE: trailers")
	}
	for _, line := range []string{
		"X", "X y: z", "X : y", " X: y", "X: y\r\n z", "X: y\nZ: a", "X: \x00", "X: y\r", ": y", "\tX: y", "X: \x7f", "GET / HTTP/1.1", "X: " + strings.Repeat("y", 9000), strings.Repeat("X: yyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n", 400) + "X: y",
	} {
		c.add(refused, body+line+"\r\n\r\n"+smuggled, coding)
	}
}

// connections are heads that would change the connection, or strip its fields.
func (c *collector) connections() {
	c.kind = "connection"
	for _, lines := range [][]string{
		{"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"}, {"Connection: upgrade", "Upgrade: websocket"}, {"Upgrade: websocket"}, {"Connection: upgrade", "Upgrade: h2"},
		{"Connection: upgrade", "Upgrade: TLS/1.2"}, {"Connection: upgrade", "Upgrade: websocket, h2c"}, {"Connection: upgrade", "Upgrade: h2c", "Upgrade: websocket"}, {"Connection: upgrade", "Upgrade:"},
		{"Expect: 200-ok"}, {"Expect:"}, {"Expect: 100-continue, x"}, {"Expect: 100-continue", "Expect: 100-continue"}, {"Expect: 100-continue;x"}, {"Expect: x"},
	} {
		c.add(refused, smuggled, append(lines, lineLength+exact)...)
		c.add(refused, chunked, append(lines, "Transfer-Encoding: chunked")...)
	}
	for _, v := range []string{
		"Content-Length", "Transfer-Encoding", "Host", "Authorization", "close, Content-Length", "keep-alive", "X, Content-Length, Host", "Connection", "\"close\"", ",,,", "Te", "close",
	} {
		c.add(carried, smuggled, "Connection: "+v, lineLength+exact)
		c.add(carried, chunked, "Transfer-Encoding: chunked", "connection: "+v)
		c.add(carried, smuggled, lineLength+exact, "Proxy-Connection: "+v, "Keep-Alive: "+v)
	}
}

// floods are heads beyond a limit.
func (c *collector) floods() {
	c.kind = "flood"
	for _, n := range []int{126, 200, 1000, 5000} {
		c.field(refused, strings.TrimSuffix(strings.Repeat("X: y\r\n", n), "\r\n"))
	}
	for _, n := range []int{64 << 10, 128 << 10} {
		c.field(refused, "X: "+strings.Repeat("y", n))
		c.field(refused, strings.Repeat("X", n)+": y")
		c.line(refused, "POST /a/"+mark+strings.Repeat("x", n)+" HTTP/1.1")
	}
	c.field(carried, "X: "+strings.Repeat("y", 60<<10))
	c.field(carried, strings.TrimSuffix(strings.Repeat("X: y\r\n", 120), "\r\n"))
}
