// Package account says who somebody is: roles, users, sessions, tokens and the
// principal that every request is decided for.
//
// It holds values, their validation and the sentinel errors that the rooms
// share. It does no input or output and imports nothing of ours.
//
// The rule that must hold: a Principal is made only by the rooms that proved
// an identity (session, login); its zero value is the anonymous stranger, who
// may do nothing that is not public.
package account

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Role orders what a principal may do. Each includes the ones before it.
type Role uint8

const (
	Anonymous Role = iota // nobody: sees only what is public
	Guest                 // looks and generates, changes nothing that lasts
	User                  // everything of their own, no administration
	Admin                 // everything
	Owner                 // an admin whose password is the PASSWORD file's
)

var roleNames = [...]string{"anonymous", "guest", "user", "admin", "owner"}

func (r Role) String() string {
	if int(r) < len(roleNames) {
		return roleNames[r]
	}
	return fmt.Sprintf("role(%d)", uint8(r))
}

// ParseRole reads a role's name. "anonymous" is not a role that can be given.
func ParseRole(s string) (Role, error) {
	for i, name := range roleNames[1:] {
		if s == name {
			return Role(i + 1), nil
		}
	}
	return Anonymous, fmt.Errorf("unknown role %q: use guest, user, admin or owner", s)
}

// Method says how a principal proved who they are.
type Method uint8

const (
	ByNothing Method = iota // anonymous, or --auth off
	ByCookie                // a session cookie: a browser, so cross-site rules apply
	ByToken                 // a named token or the console's token
	ByKey                   // the fixed API key
)

var methodNames = [...]string{"nothing", "session", "token", "api-key"}

func (m Method) String() string {
	if int(m) < len(methodNames) {
		return methodNames[m]
	}
	return fmt.Sprintf("method(%d)", uint8(m))
}

// Principal is the somebody that a request is decided for.
type Principal struct {
	Role   Role
	UserID string // "owner" for the owner, a user's id, "" for guests and keys
	Name   string // to show; visitors' text, so quote it in logs
	Method Method
	// Ref names the session or token without being usable as one: the hash
	// under which it is stored, a token's after "token:". Revocations are told
	// by it. "" for the fixed key.
	Ref string
}

// ID names the principal in limits and bindings: two requests with the same
// ID are the same somebody. Guests are told apart by their session.
func (p Principal) ID() string {
	switch {
	case p.UserID != "":
		return "user:" + p.UserID
	case p.Role == Guest:
		return "guest:" + p.Ref
	case p.Role == Anonymous:
		return "anonymous"
	default: // the fixed key's, also as the cookie of a browser that gave it
		return "key:" + p.Name
	}
}

// OwnerID is the UserID of the owner, whose password is the PASSWORD file's.
const OwnerID = "owner"

// Session is a browser's login as it is stored. The cookie's value is not in
// it: only its hash is.
type Session struct {
	Hash      string // hex SHA-256 of the cookie's value; the primary key
	UserID    string // "" for a guest
	Role      Role
	Name      string
	Epoch     string // the owner's password epoch; a session of another epoch is dead
	CreatedAt time.Time
	SeenAt    time.Time // written at most once a minute
	Address   string    // peer address at creation
	Agent     string    // User-Agent at creation, cut to 256 bytes
}

// Token is a named credential for programs, as it is stored: without its value.
type Token struct {
	ID        string // short, public, unique
	Hash      string // hex SHA-256 of the value
	Name      string
	Kind      string // "api", or "browser" for one that /auth_login.html obtained
	UserID    string
	Role      Role
	CreatedAt time.Time
	ExpiresAt time.Time // zero: never
	UsedAt    time.Time // zero: not yet; written at most once a minute
	UsedFrom  string
	RevokedAt time.Time // zero: live
	// Epoch names what the token dies with: "key:…" the fixed API key that it
	// was obtained for, "token:ID" another token, "" nothing else.
	Epoch string
}

// Live tells whether the token is neither revoked nor expired.
func (t Token) Live(now time.Time) bool {
	return t.RevokedAt.IsZero() && (t.ExpiresAt.IsZero() || now.Before(t.ExpiresAt))
}

// The errors that rooms tell one another. One place (web) turns them into
// answers; their text is never shown to a visitor as it is.
var (
	ErrNotFound       = errors.New("not found")
	ErrBadCredentials = errors.New("wrong credentials")
	ErrNoCredentials  = errors.New("no credentials")
	ErrAmbiguous      = errors.New("two different credentials in one request")
	ErrExpired        = errors.New("session has ended")
	ErrSetUpNeeded    = errors.New("no password has been set yet")
	ErrAlreadySetUp   = errors.New("a password has been set already")
	ErrSetUpCode      = errors.New("the set-up code is missing or wrong")
	ErrGuestsOff      = errors.New("guest mode is off")
	ErrDisabled       = errors.New("account is disabled")
)

// ThrottledError says that the same account or address failed too often.
type ThrottledError struct{ Wait time.Duration } // until the next try counts

func (e *ThrottledError) Error() string {
	return fmt.Sprintf("too many failed attempts: wait %d seconds", e.Seconds())
}

// Seconds is Wait rounded up, at least 1.
func (e *ThrottledError) Seconds() int {
	return max(1, int((e.Wait+time.Second-1)/time.Second))
}

// InputError says that what somebody typed cannot be taken, and what to type
// instead: a 4xx answer, never a 500. Its sentence is for that person.
type InputError struct {
	Field    string // the form's field: "username", "password" or "name"
	Sentence string
}

func (e *InputError) Error() string { return e.Sentence }

// Limits on what people type. A password is counted in bytes and never cut.
const (
	MaxName     = 64   // characters
	MaxPassword = 1000 // bytes
	MinKey      = 8    // characters of an API key
)

// CheckName refuses names that cannot be told apart or shown safely: empty,
// longer than MaxName characters, not UTF-8, or with control, format or
// separator characters other than a single inner space. The error is an
// *InputError.
func CheckName(name string) error {
	switch {
	case !utf8.ValidString(name):
		return &InputError{Field: "username", Sentence: "The name is not valid text."}
	case strings.TrimSpace(name) == "":
		return &InputError{Field: "username", Sentence: "Please enter a name."}
	case utf8.RuneCountInString(name) > MaxName:
		return &InputError{Field: "username", Sentence: fmt.Sprintf("The name is too long: at most %d characters.", MaxName)}
	case strings.TrimSpace(name) != name || strings.Contains(name, "  "):
		return &InputError{Field: "username", Sentence: "The name may not begin or end with a space, or have two in a row."}
	}
	for _, r := range name {
		if !unicode.IsPrint(r) { // also refuses right-to-left marks and zero-width characters
			return &InputError{Field: "username", Sentence: "The name has a character that cannot be shown."}
		}
	}
	return nil
}

// CheckNewPassword refuses only what cannot work: first-time set-up accepts any
// password, as ComfyUI-Login did. The error is an *InputError.
func CheckNewPassword(password string) error {
	switch {
	case password == "":
		return &InputError{Field: "password", Sentence: "Please enter a password."}
	case len(password) > MaxPassword:
		return &InputError{Field: "password", Sentence: fmt.Sprintf("The password is too long: at most %d bytes.", MaxPassword)}
	case !utf8.ValidString(password):
		return &InputError{Field: "password", Sentence: "The password is not valid text."}
	}
	return nil
}

// FoldName gives the form under which attempts are counted and names compared,
// so that "Alice", "ALICE" and " alice" are one.
func FoldName(name string) string {
	return strings.ToLower(strings.Join(strings.Fields(name), " "))
}
