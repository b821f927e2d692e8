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
	Ref   string
	Scope Scope  // narrows the role down; a token's
	Link  string // ID of the guest link that let them in
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

// Account is the user ID that what the principal makes belongs to: the owner's
// for the fixed key too. "" for those who have no account.
func (p Principal) Account() string {
	if p.UserID == "" && p.Role == Owner {
		return OwnerID
	}
	return p.UserID
}

// InSession tells somebody who logged in from a program's token or key, also
// where a browser keeps that as its cookie.
func (p Principal) InSession() bool {
	return p.Method == ByCookie && p.Ref != "" && !strings.HasPrefix(p.Ref, TokenRef(""))
}

// Manages tells whether the principal may see and change their own account: in
// a session, or with an administrator's full rights. A program's token with
// fewer rights must not make itself more.
func (p Principal) Manages() bool {
	return p.Account() != "" && p.Scope == ScopeAll && (p.InSession() || p.Role >= Admin)
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
	ExpiresAt time.Time // zero: no other end than every session's
	ProvedAt  time.Time // when the password was proved last; zero: never, as by a link
}

// Passing tells a guest who came by guest mode: nothing else keeps them.
func (s *Session) Passing() bool { return s.Role == Guest && s.UserID == "" && s.Epoch == "" }

// Cursor is where the part of a list behind the session begins.
func (s *Session) Cursor() string { return fmt.Sprintf("%d-%s", s.SeenAt.UnixMilli(), s.Hash) }

// Token is a named credential for programs, as it is stored: without its value.
type Token struct {
	ID        string // short, public, unique
	Hash      string // hex SHA-256 of the value
	Name      string
	Kind      string // "api", or "browser" for one that /auth_login.html obtained
	UserID    string
	Role      Role
	Scope     Scope
	CreatedAt time.Time
	ExpiresAt time.Time // zero: never
	UsedAt    time.Time // zero: not yet; written at most once a minute
	UsedFrom  string
	RevokedAt time.Time // zero: live
	// Epoch names what the token dies with: "key:…" the fixed API key that it
	// was obtained for, "token:ID" another token, "" nothing else.
	Epoch string
}

// TokenRef is the Ref of a principal who was found by the token with this hash.
func TokenRef(hash string) string { return "token:" + hash }

// Cursor is where the part of a list behind the token begins.
func (t *Token) Cursor() string { return fmt.Sprintf("%d-%s", t.CreatedAt.UnixMilli(), t.ID) }

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
	ErrLinkDead       = errors.New("the link has been used, has expired or was taken back")
	ErrProveAgain     = errors.New("the password must be proved again")
	ErrNotAllowed     = errors.New("not allowed")
	ErrTaken          = errors.New("the name is taken")
	ErrLastAdmin      = errors.New("nobody else could administer")
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
