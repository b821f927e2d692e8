package login

import (
	"crypto/rand"
	"strings"

	"comfylatch/internal/account"
)

// NoticeKind says what the console should show.
type NoticeKind int

const (
	// SetUpNeeded: there is no password; Code is for a set-up from another machine.
	SetUpNeeded NoticeKind = iota + 1
	// PasswordSet: there is one (again); Token is the console token that goes with it.
	PasswordSet
)

// Notice is something that the person at the console should see.
type Notice struct {
	Kind  NoticeKind
	Code  account.Secret
	Token account.Secret
	Name  string // the owner's; "" where PASSWORD does not say
}

// Notices tells what to show on the console: once at the start, and at every
// change of the password set-up. There is one reader.
func (s *Service) Notices() <-chan Notice { return s.notices }

// notify never waits: where nobody reads, the oldest goes.
func (s *Service) notify(n Notice) {
	for {
		select {
		case s.notices <- n:
			return
		default:
		}
		select {
		case <-s.notices:
		default:
		}
	}
}

// Crockford's alphabet: no I, L, O or U, so that a code can be read off a
// screen and typed without mistakes.
const (
	codeAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	codeLength   = 12 // 60 bits
	codeGroup    = 4
)

// newCode makes a set-up code such as 7Q4K-0ZVX-M3RD.
func newCode() account.Secret {
	b := make([]byte, codeLength)
	rand.Read(b)
	var text strings.Builder
	for i, x := range b {
		if i > 0 && i%codeGroup == 0 {
			text.WriteByte('-')
		}
		text.WriteByte(codeAlphabet[x%byte(len(codeAlphabet))]) // 32 divides 256: no bias
	}
	return account.NewSecret(text.String())
}

var codeMisread = strings.NewReplacer("-", "", " ", "", "O", "0", "I", "1", "L", "1")

// normalCode brings a typed code to the form that is compared.
func normalCode(typed string) string {
	if len(typed) > 4*codeLength {
		typed = typed[:4*codeLength]
	}
	return codeMisread.Replace(strings.ToUpper(strings.TrimSpace(typed)))
}
