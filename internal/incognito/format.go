package incognito

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The encrypted picture. docs/incognito.md says the same for other programs.
//
//	header   16 bytes: "LATCHPIC", version 1, 7 random bytes (nonce prefix)
//	chunks   AES-256-GCM of 1 MiB of the picture each; the last one is 1 byte
//	         to 1 MiB. Each is followed by its 16-byte tag.
//
// A chunk's nonce is the 7 bytes, the chunk's number (4 bytes, big-endian,
// from 0), and 1 for the last chunk, else 0. The header is authenticated with
// every chunk. So pieces cannot be changed, swapped, left out, cut off or
// mixed with another picture's (the STREAM construction of Hoang, Reyhanitabar,
// Rogaway and Vizár, as in age).
const (
	magic      = "LATCHPIC\x01"
	headerSize = 16
	chunkSize  = 1 << 20 // plain bytes
	tagSize    = 16
	sealedSize = chunkSize + tagSize
	// KeySize is the length of a picture's key in bytes.
	KeySize = 32
)

var errDamaged = errors.New("the encrypted picture is damaged, or the key is not its own")

// sealedLength is the length of n plain bytes when encrypted.
func sealedLength(n int64) int64 {
	return headerSize + n + (n+chunkSize-1)/chunkSize*tagSize
}

// plainLength is the reverse, with errDamaged for what no picture can have.
func plainLength(sealed int64) (int64, error) {
	body := sealed - headerSize
	rest := body % sealedSize
	if body <= tagSize || rest != 0 && rest <= tagSize {
		return 0, errDamaged
	}
	return body - (body+sealedSize-1)/sealedSize*tagSize, nil
}

// open decrypts sealed bytes of a known length and gives the plain chunks to
// sink, each only after it has proved intact. Chunks are wiped behind sink. The
// errors are errDamaged, and those of src and sink.
func open(src io.Reader, sealed int64, key []byte, sink func([]byte) error) error {
	if _, err := plainLength(sealed); err != nil {
		return err
	}
	aead, err := newGCM(key)
	if err != nil {
		return err
	}
	var header [headerSize]byte
	if _, err := io.ReadFull(src, header[:]); err != nil {
		return short(err)
	}
	if string(header[:len(magic)]) != magic {
		return errDamaged
	}
	buf := make([]byte, min(sealed-headerSize, sealedSize))
	defer clear(buf)
	var nonce [12]byte
	copy(nonce[:], header[len(magic):])
	for left, n := sealed-headerSize, uint32(0); left > 0; n++ {
		chunk := buf[:min(left, sealedSize)]
		if _, err := io.ReadFull(src, chunk); err != nil {
			return short(err)
		}
		left -= int64(len(chunk))
		binary.BigEndian.PutUint32(nonce[7:], n)
		if left == 0 {
			nonce[11] = 1
		}
		plain, err := aead.Open(chunk[:0], nonce[:], chunk, header[:])
		if err != nil {
			return errDamaged
		}
		if err := sink(plain); err != nil {
			return err
		}
	}
	return nil
}

func newGCM(key []byte) (cipher.AEAD, error) {
	if len(key) != KeySize {
		return nil, errDamaged
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, errDamaged
	}
	return cipher.NewGCM(block)
}

// short turns an early end into errDamaged.
func short(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errDamaged
	}
	return fmt.Errorf("read the encrypted picture: %w", err)
}
