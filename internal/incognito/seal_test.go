package incognito

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"testing"
)

// seal encrypts as the browser and the Python example do.
func seal(t testing.TB, plain, key []byte) []byte {
	t.Helper()
	aead, err := newGCM(key)
	if err != nil {
		t.Fatal(err)
	}
	out := append([]byte(magic), 0, 0, 0, 0, 0, 0, 0)
	rand.Read(out[len(magic):])
	header := bytes.Clone(out)
	for n := uint32(0); len(plain) > 0; n++ {
		chunk := plain[:min(len(plain), chunkSize)]
		plain = plain[len(chunk):]
		nonce := append(bytes.Clone(header[len(magic):]), 0, 0, 0, 0, 0)
		binary.BigEndian.PutUint32(nonce[7:], n)
		if len(plain) == 0 {
			nonce[11] = 1
		}
		out = aead.Seal(out, nonce, chunk, header)
	}
	return out
}

func newKey() []byte {
	key := make([]byte, KeySize)
	rand.Read(key)
	return key
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func unseal(sealed, key []byte) ([]byte, error) {
	var plain []byte
	err := open(bytes.NewReader(sealed), int64(len(sealed)), key, func(b []byte) error {
		plain = append(plain, b...)
		return nil
	})
	return plain, err
}

func TestWhatWasSealedOpens(t *testing.T) {
	for _, n := range []int{1, 15, 16, 17, chunkSize - 1, chunkSize, chunkSize + 1, 3*chunkSize + 5} {
		plain, key := randomBytes(n), newKey()
		sealed := seal(t, plain, key)
		if int64(len(sealed)) != sealedLength(int64(n)) {
			t.Errorf("%d bytes become %d, want %d", n, len(sealed), sealedLength(int64(n)))
		}
		if got, err := plainLength(int64(len(sealed))); err != nil || got != int64(n) {
			t.Errorf("%d encrypted bytes hold %d (%v), want %d", len(sealed), got, err, n)
		}
		if got, err := unseal(sealed, key); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes do not come back: %v", n, err)
		}
	}
}

func TestWhatWasTouchedDoesNotOpen(t *testing.T) {
	plain, key := randomBytes(3*chunkSize+100), newKey()
	good := seal(t, plain, key)
	chunk := func(b []byte, i int) []byte { return b[headerSize+i*sealedSize:][:sealedSize] }
	other := seal(t, plain, key) // the same picture and key, another nonce prefix
	for _, c := range []struct {
		name  string
		touch func(b []byte) []byte
	}{
		{"a bit of the magic", func(b []byte) []byte { b[0] ^= 1; return b }},
		{"another version", func(b []byte) []byte { b[8] = 2; return b }},
		{"a bit of the nonce prefix", func(b []byte) []byte { b[12] ^= 1; return b }},
		{"a bit of the first chunk", func(b []byte) []byte { b[headerSize] ^= 0x80; return b }},
		{"a bit of a tag", func(b []byte) []byte { b[headerSize+sealedSize-1] ^= 1; return b }},
		{"a bit of the last byte", func(b []byte) []byte { b[len(b)-1] ^= 1; return b }},
		{"two chunks swapped", func(b []byte) []byte {
			first := bytes.Clone(chunk(b, 0))
			copy(chunk(b, 0), chunk(b, 1))
			copy(chunk(b, 1), first)
			return b
		}},
		{"a chunk twice", func(b []byte) []byte { copy(chunk(b, 1), chunk(b, 0)); return b }},
		{"a chunk of another picture", func(b []byte) []byte { copy(chunk(b, 1), chunk(other, 1)); return b }},
		{"a chunk left out", func(b []byte) []byte { return append(b[:headerSize:headerSize], b[headerSize+sealedSize:]...) }},
		{"the last chunk cut off", func(b []byte) []byte { return b[:headerSize+3*sealedSize] }},
		{"a byte cut off", func(b []byte) []byte { return b[:len(b)-1] }},
		{"a byte added", func(b []byte) []byte { return append(b, 0) }},
		{"an empty chunk added", func(b []byte) []byte { return append(b, make([]byte, tagSize)...) }},
		{"only a header", func(b []byte) []byte { return b[:headerSize] }},
		{"nothing", func(b []byte) []byte { return nil }},
	} {
		if _, err := unseal(c.touch(bytes.Clone(good)), key); !errors.Is(err, errDamaged) {
			t.Errorf("%s: %v, want %v", c.name, err, errDamaged)
		}
	}
	for name, key := range map[string][]byte{"another key": newKey(), "no key": nil, "a short key": key[:16]} {
		if _, err := unseal(bytes.Clone(good), key); !errors.Is(err, errDamaged) {
			t.Errorf("%s: %v, want %v", name, err, errDamaged)
		}
	}
}

func TestChunksAreWipedAfterUse(t *testing.T) {
	plain, key := randomBytes(2*chunkSize+7), newKey()
	sealed := seal(t, plain, key)
	var seen [][]byte
	err := open(bytes.NewReader(sealed), int64(len(sealed)), key, func(b []byte) error {
		seen = append(seen, b)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range seen {
		if !bytes.Equal(b, make([]byte, len(b))) {
			t.Errorf("chunk %d is still in memory", i)
		}
	}
}

// FuzzOpen looks for bytes that open though they were not sealed so.
func FuzzOpen(f *testing.F) {
	key := bytes.Repeat([]byte{7}, KeySize)
	f.Add([]byte("a small picture"), uint16(0), byte(0), false)
	f.Add([]byte("x"), uint16(20), byte(1), true)
	f.Add(randomBytes(100), uint16(3), byte(255), false)
	f.Fuzz(func(t *testing.T, plain []byte, at uint16, flip byte, cut bool) {
		if len(plain) == 0 || len(plain) > 4096 {
			return
		}
		if _, err := unseal(bytes.Clone(plain), key); err == nil {
			t.Fatal("what was never sealed opens")
		}
		sealed := seal(t, plain, key)
		i := int(at) % len(sealed)
		touched := bytes.Clone(sealed)
		if cut {
			touched = touched[:i]
		} else {
			touched[i] ^= flip
		}
		got, err := unseal(bytes.Clone(touched), key)
		if same := bytes.Equal(touched, sealed); same != (err == nil) {
			t.Fatalf("changed: %v, opens: %v", !same, err)
		}
		if err == nil && !bytes.Equal(got, plain) {
			t.Fatal("something else came back")
		}
	})
}
