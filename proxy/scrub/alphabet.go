// SPDX-License-Identifier: Apache-2.0

package scrub

// invalid is what a table holds for a byte outside its alphabet. No value of a
// pattern is equal to it under any mask.
const invalid = 0xff

const (
	hexLower  = "0123456789abcdef"
	hexUpper  = "0123456789ABCDEF"
	base64Std = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	base64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
)

// The values of bytes: as themselves, as a hexadecimal digit of either case, as
// a base64 digit of either alphabet.
var (
	octets  = tableOf()
	nibbles = tableOf(hexLower, hexUpper)
	sextets = tableOf(base64Std, base64URL)
)

func tableOf(alphabets ...string) *[256]byte {
	table := new([256]byte)
	for i := range table {
		table[i] = byte(i)
		if len(alphabets) > 0 {
			table[i] = invalid
		}
	}
	for _, alphabet := range alphabets {
		for value, c := range []byte(alphabet) {
			table[c] = byte(value)
		}
	}
	return table
}

// sextetsOf returns the base64 digits of text behind alignment other bytes,
// from the first digit that has a bit of text to the last one, and which bits
// of these two are text's. The others are zero.
func sextetsOf(dst, text []byte, alignment int) (digits []byte, head, tail byte) {
	first, last := 8*alignment/6, (8*(alignment+len(text))-1)/6
	at := func(i int) byte { // bits of the digit i, zero outside text
		value := byte(0)
		for bit := 6 * i; bit < 6*i+6; bit++ {
			value <<= 1
			if k := bit/8 - alignment; k >= 0 && k < len(text) {
				value |= text[k] >> (7 - bit%8) & 1
			}
		}
		return value
	}
	for i := first; i <= last; i++ {
		dst = append(dst, at(i))
	}
	foreignHead := 8*alignment - 6*first
	foreignTail := 6*(last+1) - 8*(alignment+len(text))
	return dst, 0xc0 | 0x3f>>foreignHead, 0xff << foreignTail
}
