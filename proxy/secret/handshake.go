// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"math/big"
)

// handshakeName is the only session the helper opens. The other one of the
// Secret Service specification, "plain", would put credentials on the bus as
// they are.
const handshakeName = "dh-ietf1024-sha256-aes128-cbc-pkcs7"

// group is the Second Oakley Group: RFC 2409, section 6.2. Its generator is 2.
var group, _ = new(big.Int).SetString(""+
	"FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD1"+
	"29024E088A67CC74020BBEA63B139B22514A08798E3404DD"+
	"EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245"+
	"E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED"+
	"EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE65381"+
	"FFFFFFFFFFFFFFFF", 16)

const groupBytes = 128

var errHandshake = errors.New("answer of the Secret Service is not what its encrypted session wants")

// handshake is our half of a Diffie-Hellman exchange.
type handshake struct{ private *big.Int }

func newHandshake() (*handshake, error) {
	// 2 ≤ private ≤ p-2.
	private, err := rand.Int(rand.Reader, new(big.Int).Sub(group, big.NewInt(3)))
	if err != nil {
		return nil, err
	}
	return &handshake{private.Add(private, big.NewInt(2))}, nil
}

// public is 2^private mod p, big-endian.
func (h *handshake) public() []byte {
	return new(big.Int).Exp(big.NewInt(2), h.private, group).FillBytes(make([]byte, groupBytes))
}

// agree derives the AES-128 key from the peer's public number. 0, 1 and p-1,
// and what is beyond p, would let a third party know the shared secret.
func (h *handshake) agree(peer []byte) ([]byte, error) {
	y := new(big.Int).SetBytes(peer)
	if len(peer) > groupBytes || y.Cmp(big.NewInt(2)) < 0 || y.Cmp(new(big.Int).Sub(group, big.NewInt(2))) > 0 {
		return nil, errHandshake
	}
	// As long as the prime, zeros in front: both sides must hash the same bytes.
	shared := new(big.Int).Exp(y, h.private, group).FillBytes(make([]byte, groupBytes))
	defer clear(shared)
	return hkdf.Key(sha256.New, shared, nil, "", aes.BlockSize)
}

// decrypt undoes AES-128-CBC with PKCS #7 padding (RFC 5652, section 6.3) in
// locked memory.
func decrypt(key, iv, sealed []byte) (Value, error) {
	n := len(sealed)
	if len(iv) != aes.BlockSize || n == 0 || n%aes.BlockSize != 0 {
		return Value{}, errHandshake
	}
	if n > MaxLength+2*aes.BlockSize {
		return Value{}, ErrLong
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return Value{}, err
	}
	m, err := allocate(n)
	if err != nil {
		return Value{}, err
	}
	plain := m.data[:n]
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, sealed)
	pad := int(plain[n-1])
	valid := pad >= 1 && pad <= aes.BlockSize
	for i := 1; valid && i <= pad; i++ {
		valid = int(plain[n-i]) == pad
	}
	if !valid {
		m.wipe()
		return Value{}, errHandshake
	}
	m.length = n - pad
	return Value{m}, nil
}
