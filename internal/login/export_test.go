package login

import "context"

// Hashed is how many passwords have been hashed.
func Hashed(s *Service) int64 { return s.hashed.Load() }

// ParsePassword reads PASSWORD's text and gives the name and the first line.
func ParsePassword(text []byte) (line, name string, err error) {
	f, err := parsePassword(text)
	return f.hash.line, f.name, err
}

// Rewrite reads PASSWORD's text and writes it as we would.
func Rewrite(text []byte) ([]byte, error) {
	f, err := parsePassword(text)
	return f.text(), err
}

// NewHashLine hashes a password as a set-up does.
func NewHashLine(password string) string { return newHash(password).line }

// Matches checks a password against a line.
func Matches(line, password string) (bool, error) {
	h, err := parseHash(line)
	return err == nil && h.matches(password), err
}

// ParseHash reads a line and gives what it would cost, in KiB and passes.
func ParseHash(line string) (memory, time uint32, err error) {
	h, err := parseHash(line)
	return h.memory, h.time, err
}

// NormalCode is a typed set-up code as it is compared.
func NormalCode(typed string) string { return normalCode(typed) }

// Flush writes the last uses of tokens.
func Flush(ctx context.Context, s *Service) error { return s.Tokens.flush(ctx, 0) }
