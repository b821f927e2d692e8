package login

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// What new hashes cost: OWASP's minimum for Argon2id. 19 MiB, two passes.
const (
	argonMemory  = 19 * 1024 // KiB
	argonTime    = 2
	argonThreads = 1
	argonSalt    = 16 // bytes
	argonKey     = 32 // bytes
)

// Bounds on what a PASSWORD file may ask of us, so that an edited one cannot
// take all memory or minutes of a core.
const (
	maxArgonMemory = 1 << 20 // KiB: 1 GiB
	maxArgonTime   = 64
	maxBcryptCost  = 16
	bcryptBytes    = 72 // of a password that bcrypt looks at
)

// passwordHash is a hash as it stands in PASSWORD: ComfyUI-Login's bcrypt, or
// our Argon2id in the PHC string format.
type passwordHash struct {
	line    string // as it stands
	bcrypt  bool
	memory  uint32 // KiB
	time    uint32
	threads uint8
	salt    []byte
	key     []byte
}

var b64 = base64.RawStdEncoding.Strict()

// newHash hashes a new password. It takes 19 MiB: enter the gate first.
func newHash(password string) passwordHash {
	h := passwordHash{memory: argonMemory, time: argonTime, threads: argonThreads, salt: make([]byte, argonSalt)}
	rand.Read(h.salt)
	h.key = argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.threads, argonKey)
	h.line = fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		h.memory, h.time, h.threads, b64.EncodeToString(h.salt), b64.EncodeToString(h.key))
	return h
}

// parseHash reads one line. Its errors do not repeat the line: it may be a
// password that somebody wrote there by mistake.
func parseHash(line string) (passwordHash, error) {
	switch {
	case strings.HasPrefix(line, "$2a$"), strings.HasPrefix(line, "$2b$"), strings.HasPrefix(line, "$2y$"):
		return parseBcrypt(line)
	case strings.HasPrefix(line, "$argon2id$"):
		return parseArgon(line)
	default:
		return passwordHash{}, errors.New("line 1 is neither a bcrypt nor an argon2id hash")
	}
}

func parseBcrypt(line string) (passwordHash, error) {
	const alphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	cost, err := bcrypt.Cost([]byte(line))
	switch {
	case err != nil || len(line) != 60 || line[6] != '$' || strings.Trim(line[7:], alphabet) != "":
		return passwordHash{}, errors.New("line 1 is a damaged bcrypt hash")
	case cost > maxBcryptCost:
		return passwordHash{}, fmt.Errorf("line 1 is a bcrypt hash of cost %d: at most %d is accepted", cost, maxBcryptCost)
	}
	return passwordHash{line: line, bcrypt: true}, nil
}

// parseArgon reads $argon2id$v=19$m=19456,t=2,p=1$SALT$KEY.
func parseArgon(line string) (passwordHash, error) {
	damaged := errors.New("line 1 is a damaged argon2id hash")
	parts := strings.Split(line, "$")
	if len(parts) != 6 || parts[2] != "v=19" {
		return passwordHash{}, damaged
	}
	h := passwordHash{line: line}
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &h.memory, &h.time, &h.threads); err != nil || n != 3 ||
		fmt.Sprintf("m=%d,t=%d,p=%d", h.memory, h.time, h.threads) != parts[3] {
		return passwordHash{}, damaged
	}
	var err1, err2 error
	h.salt, err1 = b64.DecodeString(parts[4])
	h.key, err2 = b64.DecodeString(parts[5])
	switch {
	case err1 != nil || err2 != nil || len(h.salt) < 8 || len(h.salt) > 64 || len(h.key) < 16 || len(h.key) > 128 ||
		h.time < 1 || h.threads < 1 || h.memory < 8*uint32(h.threads):
		return passwordHash{}, damaged
	case h.memory > maxArgonMemory || h.time > maxArgonTime:
		return passwordHash{}, fmt.Errorf("line 1 is an argon2id hash that costs too much: at most m=%d and t=%d are accepted", maxArgonMemory, maxArgonTime)
	}
	return h, nil
}

// matches tells whether the password is the one that was hashed. Bcrypt looks
// at 72 bytes, and ComfyUI-Login cut silently there: so do we, for its hashes
// alone. Enter the gate first.
func (h passwordHash) matches(password string) bool {
	if h.bcrypt {
		return bcrypt.CompareHashAndPassword([]byte(h.line), []byte(password[:min(len(password), bcryptBytes)])) == nil
	}
	key := argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.threads, uint32(len(h.key)))
	return subtle.ConstantTimeCompare(key, h.key) == 1
}

// weak tells whether the hash should be made anew at the next log-in.
func (h passwordHash) weak() bool {
	return h.bcrypt || h.memory < argonMemory || h.time < argonTime && h.memory < 2*argonMemory
}
