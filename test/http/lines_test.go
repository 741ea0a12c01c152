// SPDX-License-Identifier: Apache-2.0

package http

import "strings"

// unusual are bytes that parsers differ about.
func unusual() []byte {
	var list []byte
	for c := range 0x21 {
		list = append(list, byte(c))
	}
	return append(list, "\x7f\x80\x85\xa0\xff\"(),/:;<=>?@[\\]{}#"...)
}

const (
	tokens     = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	lineLength = "Content-Length: "
)

// bytes puts each unusual byte into each place of a head.
func (c *collector) bytes() {
	c.kind = "byte"
	for _, b := range unusual() {
		s := string([]byte{b})
		token, visible := strings.Contains(tokens, s), b > ' ' && b < 0x7f
		text := b == '\t' || b >= ' ' && b != 0x7f
		c.line(refused, "PO"+s+"ST /a/"+mark+" HTTP/1.1")
		c.line(refused, s+lineRequest)
		c.line(refused, "POST"+s+" /a/"+mark+" HTTP/1.1")
		if b != '/' {
			c.line(refused, "POST "+s+"a/"+mark+" HTTP/1.1")
		}
		c.line(when(visible && b != '#'), "POST /a/"+mark+s+"x HTTP/1.1")
		c.line(refused, "POST /a/"+mark+" HTTP"+s+"/1.1")
		c.line(refused, "POST /a/"+mark+" HTTP/1."+s+"1")
		c.line(refused, lineRequest+s)
		c.field(when(token || b == ':'), "X"+s+"Y: z")
		c.field(when(token), s+"X: y")
		c.field(when(token || b == ':'), "X"+s+": y")
		c.field(when(text), "X: y"+s+"z")
		c.field(when(text), "X:"+s+"z")
		c.field(when(text), "X: y"+s)
	}
}

func when(lawful bool) fate {
	if lawful {
		return carried
	}
	return refused
}

// line is an attack by its request line, whose body's length is stated.
func (c *collector) line(f fate, request string) {
	c.raw(f, request+"\r\n"+lineHost+"\r\n"+lineAuth+"\r\n"+lineLength+exact+"\r\n\r\n"+smuggled)
}

// field is an attack by one field line among good ones.
func (c *collector) field(f fate, field string) { c.add(f, smuggled, field, lineLength+exact) }

// lineEnds puts each ending that is none behind each line.
func (c *collector) lineEnds() {
	c.kind = "line end"
	lines := []string{lineRequest, lineHost, lineAuth, "X: y", lineLength + exact}
	for _, end := range []string{
		"\n", "\r", "\r\r\n", "\n\r", "\n\n", "\r\n\n", "\r\n ", "\r\n\t", "\r\n \r\n", "\r\n\t\r\n", "\x0b\r\n", "\x0c\r\n", "\x00\r\n", "\r\n\r", "\r\x00\n",
		"\r\n\x0b", "\r\n\x00", "\r\n  folded\r\n", "\r\n\tfolded: y\r\n", "\r \n", "\n \r\n",
	} {
		for at := range lines {
			var b strings.Builder
			for i, line := range lines {
				b.WriteString(line)
				if i == at {
					b.WriteString(end)
				} else {
					b.WriteString("\r\n")
				}
			}
			c.raw(refused, b.String()+"\r\n"+smuggled)
			c.raw(refused, strings.Replace(b.String(), lineLength+exact, "Transfer-Encoding: chunked", 1)+"\r\n"+chunked)
		}
	}
	c.kind = "before the request"
	for _, before := range []string{"\r\n", "\n", "\r", " ", "\t", "\r\n\r\n", "\x00", "\ufeff", "0\r\n\r\n", "X: y\r\n", "\x16\x03\x01\x00\x05\r\n"} {
		c.line(refused, before+lineRequest)
	}
}

func (c *collector) requestLines() {
	c.kind = "method"
	for _, m := range []string{
		"", "post", "Post", "pOST", "POST1", "PO_ST", "CONNECT", "TRACE", "TRACK", "PRI", "POST,GET", "POST:", "(POST)", "ＰＯＳＴ", "GET /x HTTP/1.1\r\nX: y\r\nPOST",
		strings.Repeat("A", 25), "POST POST", "POST  ", "\"POST\"", "connect", "trace", "P*ST", "POST\u00a0",
	} {
		c.line(refused, m+" /a/"+mark+" HTTP/1.1")
	}
	c.kind = "version"
	for _, v := range []string{
		"", "HTTP/0.9", "HTTP/1.0", "HTTP/1.2", "HTTP/1.10", "HTTP/1.11", "HTTP/01.1", "HTTP/1.01", "HTTP/2", "HTTP/2.0", "HTTP/3", "HTTP/1", "HTTP/1.", "HTTP/.1", "HTTP/11",
		"http/1.1", "Http/1.1", "HTTP/1.1 ", " HTTP/1.1", "HTTP/1.1\t", "HTTP/1.1 x", "HTTP /1.1", "HTTP/ 1.1", "HTTP/1,1", "HTTPS/1.1", "XHTTP/1.1", "HTTP/-1.1", "HTTP/+1.1", "HTTP/1.1;",
		"HTTP\\1.1", "HTTP/1.1HTTP/1.1", "ICY/1.1", "HTTP/１.1",
	} {
		c.line(refused, "POST /a/"+mark+" "+v)
		c.raw(refused, "POST /a/"+mark+" "+v+"\r\n"+lineHost+"\r\n"+lineAuth+"\r\nTransfer-Encoding: chunked\r\n\r\n"+chunked)
	}
	c.targets()
}

func (c *collector) targets() {
	c.kind = "target"
	p := "a/" + mark
	for _, t := range []string{
		"", "*", p, "?" + p, "#" + p, "\\" + p, "/" + p + "#x", "/" + p + " x", "/" + p + "\tx", "/" + p + "\x00", "/" + p + "é", "/" + p + " HTTP/1.1", "/" + p + " HTTP/1.1 HTTP/1.1",
		host, host + ":443", host + "/" + p, "http://" + host + "/" + p, "ftp://" + host + "/" + p, "https:" + host, "https:/" + host + "/" + p, "https:///" + p, "https://",
		"https://evil.test/" + p, "https://evil.test:443/" + p, "https://u@" + host + "/" + p, "https://" + host + ":8443/" + p, "https://" + host + ".evil.test/" + p, "https://" + host + "@evil.test/" + p,
		"https://" + host + "%2eevil.test/" + p, "https://" + host + "\\@evil.test/" + p, "https://" + host + "?" + p, "https://" + host + "#" + p, "https:\\\\" + host + "/" + p, "wss://" + host + "/" + p,
		"javascript:" + p, "data:," + p, "file:///" + p, "[::1]:443", "127.0.0.1:443",
	} {
		c.line(refused, "POST "+t+" HTTP/1.1")
	}
	for _, t := range []string{"/" + p + "?x#y", "/\r\n" + p, "/" + p + "\r\nX:"} {
		c.line(refused, "POST "+t+" HTTP/1.1")
	}
	for _, t := range []string{"/" + p + "%", "/" + p + "%x", "/" + p + "%4", "/" + p + "%zz"} {
		c.line(judged, "POST "+t+" HTTP/1.1")
	}
	for _, t := range []string{
		"https://" + host + "/" + p, "HTTPS://" + strings.ToUpper(host) + "/" + p, "/" + p + "?x=%0d%0aHost:%20evil.test", "/" + p + "?" + strings.Repeat("x", 4000), "/" + p + "%00", "/" + p + "/../..",
		"//" + p, "/" + p + "?http://evil.test/", "/" + p + "%20HTTP/1.1", "/" + p + ";x", "/" + p + "?a;b", "/" + p + "\\..\\x", "/" + p + "|{}^`\"<>",
	} {
		c.line(carried, "POST "+t+" HTTP/1.1")
	}
}
