package incognito

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// ReadSecret reads what the gate and the companion node share.
func ReadSecret(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	secret := strings.TrimSpace(string(text))
	if len(secret) < 32 || strings.ContainsFunc(secret, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("%s does not hold a secret", path)
	}
	return secret, nil
}

// Signer marks what goes to ComfyUI as the gate's, for a companion node that
// lets nobody else in. Where there is no secret, it does nothing.
type Signer struct {
	path  string
	mu    sync.Mutex
	until time.Time
	value []string // of the header; nil for none
}

// NewSigner makes a Signer with the secret in a file, which may come or change
// at any time.
func NewSigner(path string) *Signer { return &Signer{path: path} }

// Sign adds the secret to a request's header. The file is read once a second at
// most.
func (s *Signer) Sign(h http.Header) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.After(s.until) {
		s.until, s.value = now.Add(time.Second), nil
		if secret, err := ReadSecret(s.path); err == nil {
			s.value = []string{secret}
		}
	}
	if s.value != nil {
		h[SecretHeader] = s.value
	}
}
