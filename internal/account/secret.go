package account

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"log/slog"
)

// Secret is a credential's value. It cannot be printed, logged or marshalled
// by accident: every formatter gives "[secret]".
type Secret struct{ value string }

// NewSecret wraps a value.
func NewSecret(value string) Secret { return Secret{value} }

// RandomSecret makes a secret of 256 random bits, in URL-safe text, with a
// recognisable prefix.
func RandomSecret(prefix string) Secret {
	b := make([]byte, 32)
	rand.Read(b) // never fails: crypto/rand ends the program instead
	return Secret{prefix + base64.RawURLEncoding.EncodeToString(b)}
}

// Reveal gives the value: to set a cookie or to show a token once, nothing else.
func (s Secret) Reveal() string { return s.value }

// Empty tells whether there is no value.
func (s Secret) Empty() bool { return s.value == "" }

// Hash is the hex SHA-256 under which the secret is stored and looked up.
// Plain SHA-256 is enough: what is hashed has 256 random bits.
func (s Secret) Hash() string {
	sum := sha256.Sum256([]byte(s.value))
	return hex.EncodeToString(sum[:])
}

// Equal compares in constant time, for values of any length.
func (s Secret) Equal(other string) bool {
	a, b := sha256.Sum256([]byte(s.value)), sha256.Sum256([]byte(other))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

func (Secret) String() string               { return "[secret]" }
func (Secret) GoString() string             { return "[secret]" }
func (Secret) LogValue() slog.Value         { return slog.StringValue("[secret]") }
func (Secret) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }
