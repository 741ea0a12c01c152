// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"math/big"
	"testing"
)

func TestHandshakeAgrees(t *testing.T) {
	if !group.ProbablyPrime(20) || !new(big.Int).Rsh(group, 1).ProbablyPrime(20) || group.BitLen() != 1024 {
		t.Fatal("group is not the safe prime of RFC 2409")
	}
	for range 20 {
		a, b := handshakes(t)
		ka, errA := a.agree(b.public())
		kb, errB := b.agree(bytes.TrimLeft(a.public(), "\x00")) // gnome-keyring sends no zeros in front
		if errA != nil || errB != nil || !bytes.Equal(ka, kb) || len(ka) != 16 {
			t.Fatalf("%x %v, %x %v", ka, errA, kb, errB)
		}
	}
}

func handshakes(t *testing.T) (a, b *handshake) {
	t.Helper()
	a, errA := newHandshake()
	b, errB := newHandshake()
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	return a, b
}

// The shared number 4 has 127 zeros in front. Expected: HKDF-SHA256 (RFC 5869)
// without salt and info over all 128 bytes, as HMAC computes it by hand.
func TestHandshakeHashesLeadingZeros(t *testing.T) {
	h := &handshake{big.NewInt(2)}
	got, err := h.agree([]byte{2})
	if err != nil {
		t.Fatal(err)
	}
	shared := make([]byte, 128)
	shared[127] = 4
	if want := hkdfByHand(shared); !bytes.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
}

func TestHandshakeRefusesWeakPublicNumbers(t *testing.T) {
	h, _ := handshakes(t)
	less := func(n int64) []byte { return new(big.Int).Sub(group, big.NewInt(n)).Bytes() }
	for name, peer := range map[string][]byte{
		"none": nil, "0": {0}, "1": {1}, "p-1": less(1), "p": less(0), "p+1": less(-1), "p+2": less(-2),
		"too long": append(make([]byte, 128), 2), "2^1024-1": bytes.Repeat([]byte{0xff}, 128),
	} {
		if key, err := h.agree(peer); !errors.Is(err, errHandshake) || key != nil {
			t.Errorf("%s: %x, %v", name, key, err)
		}
	}
	for name, peer := range map[string][]byte{"2": {2}, "p-2": less(2)} {
		if _, err := h.agree(peer); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDecrypt(t *testing.T) {
	key, iv := bytes.Repeat([]byte{7}, 16), bytes.Repeat([]byte{9}, 16)
	for _, n := range []int{0, 1, 15, 16, 17, 31, 32, 4096} {
		plain := bytes.Repeat([]byte("k"), n)
		v, err := decrypt(key, iv, encrypt(key, iv, plain))
		if err != nil || !bytes.Equal(v.Reveal(), plain) {
			t.Errorf("%d bytes: %d, %v", n, v.Len(), err)
		}
		v.Wipe()
	}
	raw := func(plain []byte) []byte {
		block, _ := aes.NewCipher(key)
		out := make([]byte, len(plain))
		cipher.NewCBCEncrypter(block, iv).CryptBlocks(out, plain)
		return out
	}
	padded := func(last ...byte) []byte { return raw(append(make([]byte, 16-len(last)), last...)) }
	for name, c := range map[string]struct{ iv, sealed []byte }{
		"empty":          {iv, nil},
		"odd":            {iv, make([]byte, 17)},
		"short iv":       {iv[:15], encrypt(key, iv, []byte("k"))},
		"no iv":          {nil, encrypt(key, iv, []byte("k"))},
		"padding 0":      {iv, padded(0)},
		"padding 17":     {iv, padded(17)},
		"padding 255":    {iv, padded(255)},
		"uneven padding": {iv, padded(2, 3, 3)},
	} {
		if v, err := decrypt(key, c.iv, c.sealed); !errors.Is(err, errHandshake) || v.Len() != 0 {
			t.Errorf("%s: %d bytes, %v", name, v.Len(), err)
		}
	}
	if _, err := decrypt(key, iv, make([]byte, MaxLength+48)); !errors.Is(err, ErrLong) {
		t.Errorf("too long: %v", err)
	}
}

func encrypt(key, iv, plain []byte) []byte {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	pad := 16 - len(plain)%16
	out := append(bytes.Clone(plain), bytes.Repeat([]byte{byte(pad)}, pad)...)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(out, out)
	return out
}

func hkdfByHand(secret []byte) []byte {
	extract := hmac.New(sha256.New, make([]byte, sha256.Size))
	extract.Write(secret)
	expand := hmac.New(sha256.New, extract.Sum(nil))
	expand.Write([]byte{1})
	return expand.Sum(nil)[:16]
}
