package account

import (
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"strings"
	"time"
)

// Person is somebody with an account of their own, as it is stored. The owner
// is not one: their password is the PASSWORD file's.
type Person struct {
	ID         string // short, public, never used again
	Name       string
	Role       Role   // Guest, User or Admin
	Password   string // hash in the PHC string format; "" until one is chosen
	Epoch      string // new with every change of password, role or state: a log-in that began before does not end in a session
	CreatedAt  time.Time
	SeenAt     time.Time // zero: never; written at most once a minute
	DisabledAt time.Time // zero: may log in
}

// Disabled tells whether the account may not be used.
func (p Person) Disabled() bool { return !p.DisabledAt.IsZero() }

// SessionEpoch is the epoch of the sessions that a person begins now: one that
// is not the present one is not kept.
func (p Person) SessionEpoch() string { return PersonEpoch + p.Epoch }

// Principal is the person once they have proved who they are.
func (p Person) Principal() Principal {
	return Principal{Role: p.Role, UserID: p.ID, Name: p.Name}
}

// Beginnings of a session's epoch.
const (
	PersonEpoch = "person:" // dies with a person's password, role or state
	LinkEpoch   = "link:"   // begun by a guest link, whose ID follows
)

// LinkKind says what a link is for.
type LinkKind string

const (
	Invitation LinkKind = "invitation" // makes an account
	Reset      LinkKind = "reset"      // chooses a new password for an account
	GuestLink  LinkKind = "guest"      // lets guests in, for a number of runs
	Pairing    LinkKind = "phone"      // logs another device in as whoever made it
)

// Link is an address that lets somebody in, as it is stored: without its value.
type Link struct {
	ID        string
	Hash      string // hex SHA-256 of the value
	Kind      LinkKind
	Role      Role
	UserID    string // of a reset or pairing, and of an invitation to an account that exists: whose
	Name      string // a note, or the person's name
	MadeBy    string // user ID
	CreatedAt time.Time
	ExpiresAt time.Time
	Uses      int       // how often it can still be used; a guest link: how many runs are left
	UsedAt    time.Time // zero: not yet
	RevokedAt time.Time // zero: live
}

// Live tells whether the link still lets somebody in.
func (l Link) Live(now time.Time) bool {
	return l.RevokedAt.IsZero() && now.Before(l.ExpiresAt) && l.Uses > 0
}

// Scope narrows down what a token may do, below its role.
type Scope uint8

const (
	ScopeAll  Scope = iota // everything that the role may
	ScopeRun               // look, queue, watch, fetch, stop; change no settings and no saved files
	ScopeRead              // look, and watch events
)

var scopeNames = [...]string{"", "run", "read"}

func (s Scope) String() string {
	if int(s) < len(scopeNames) {
		return scopeNames[s]
	}
	return fmt.Sprintf("scope(%d)", uint8(s))
}

// ParseScope reads a scope's stored name.
func ParseScope(s string) (Scope, error) {
	for i, name := range scopeNames {
		if s == name {
			return Scope(i), nil
		}
	}
	return ScopeRead, fmt.Errorf("unknown scope %q", s)
}

// ParseGrant reads the one word that people say for a token's rights: a role,
// or "run" or "read" for a user's rights narrowed down.
func ParseGrant(word string) (Role, Scope, error) {
	switch word {
	case "run":
		return User, ScopeRun, nil
	case "read":
		return User, ScopeRead, nil
	}
	role, err := ParseRole(word)
	if err != nil {
		return Anonymous, ScopeRead, fmt.Errorf("unknown role %q: use read, run, guest, user, admin or owner", word)
	}
	return role, ScopeAll, nil
}

// Grant is the word for a token's rights.
func (t Token) Grant() string {
	if t.Scope != ScopeAll {
		return t.Scope.String()
	}
	return t.Role.String()
}

// NewID makes a short, public name for something that is stored: eight letters
// and digits.
func NewID() string {
	b := make([]byte, 5)
	rand.Read(b)
	return strings.ToLower(base32.StdEncoding.EncodeToString(b))
}

// Ended is what a change has ended: the hashes of sessions and tokens, whose
// sockets are to be closed.
type Ended struct{ Sessions, Tokens []string }

// Page is a part of a long list: what comes behind After, at most Limit.
// After is the Cursor of the last line of the part before; "" for the first.
type Page struct {
	After string
	Limit int
}
