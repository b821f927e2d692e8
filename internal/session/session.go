// Package session issues, finds, renews and revokes browser sessions, and tells
// those who hold a socket open when the session or token behind it has ended.
//
// It does not prove who somebody is (login does) and does not decide what they
// may do (policy does). Programs' tokens are login's; only their open sockets
// are watched here.
//
// The rule that must hold: once Revoke… has returned, no Find gives the session
// and every Watch of it is closed; and when the store cannot be asked, nobody
// is let in.
package session

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"comfylatch/internal/account"
)

// Store keeps sessions. The deleting methods give the hashes of what is gone.
type Store interface {
	PutSession(ctx context.Context, s account.Session) error
	Session(ctx context.Context, hash string) (account.Session, error)
	TouchSessions(ctx context.Context, seen map[string]time.Time) error
	DeleteSession(ctx context.Context, hash string) ([]string, error)
	DeleteUserSessions(ctx context.Context, userID, except string) ([]string, error)
	DeleteEpochSessions(ctx context.Context, prefix, live string) ([]string, error)
	DeletePassingSessions(ctx context.Context) ([]string, error)
	DeleteOldSessions(ctx context.Context, created, seen, guestSeen, now time.Time) ([]string, error)
	// ForeignChanges differs from before when another process has written.
	ForeignChanges(ctx context.Context) (int64, error)
}

// Config says how long a session lives. A zero value means the default.
type Config struct {
	Idle      time.Duration // without a request or open socket: 7 days
	Absolute  time.Duration // in all: 30 days
	GuestIdle time.Duration // as Idle, for guests: 12 hours, never more than Idle
}

func (c Config) withDefaults() Config {
	if c.Idle <= 0 {
		c.Idle = 7 * 24 * time.Hour
	}
	if c.Absolute <= 0 {
		c.Absolute = 30 * 24 * time.Hour
	}
	if c.GuestIdle <= 0 {
		c.GuestIdle = 12 * time.Hour
	}
	c.GuestIdle = min(c.GuestIdle, c.Idle)
	return c
}

// Client is where a session is used from.
type Client struct{ Address, Agent string }

// PasswordEpoch begins the epoch of sessions that die with the owner's password.
const PasswordEpoch = "password:"

const (
	prefix   = "cs_" // of a cookie's value
	maxAgent = 256   // bytes
)

var valueLength = len(prefix) + base64.RawURLEncoding.EncodedLen(32)

// Manager is the sessions of one gate. Make it with New; its Run must be
// running for sessions to be renewed and swept.
type Manager struct {
	store Store
	cfg   Config

	cache   cache
	watches watches
	// epoch is the one live password epoch, once told; a session of another is
	// dead whatever the store says.
	epoch     atomic.Pointer[string]
	guestsOff atomic.Bool
	ended     atomic.Uint64 // grows with every revocation
	late      late          // uses of evicted sessions that the store has not got yet
}

// New makes a Manager.
func New(store Store, cfg Config) *Manager {
	m := &Manager{store: store, cfg: cfg.withDefaults()}
	m.cache.init()
	m.watches.init()
	return m
}

// Terms say what a session lives by.
type Terms struct {
	Epoch     string
	ExpiresAt time.Time // zero: no other end than every session's
	Proved    bool      // by a password, just now
}

// Issue makes a new session for somebody who has just proved who they are, and
// gives the cookie's value. The session is on the disk when Issue returns. The
// value is new each time, so a session ID planted before a log-in is worthless.
// account.ErrBadCredentials: what it hangs on has changed meanwhile.
func (m *Manager) Issue(ctx context.Context, who account.Principal, from Client, terms Terms) (account.Secret, account.Principal, error) {
	if who.Role == account.Anonymous {
		return account.Secret{}, account.Principal{}, fmt.Errorf("issue a session: %w", account.ErrNoCredentials)
	}
	value := account.RandomSecret(prefix)
	now := time.Now()
	s := account.Session{
		Hash: value.Hash(), UserID: who.UserID, Role: who.Role, Name: who.Name, Epoch: terms.Epoch,
		CreatedAt: now, SeenAt: now, Address: from.Address, Agent: cut(from.Agent, maxAgent), ExpiresAt: terms.ExpiresAt,
	}
	if terms.Proved {
		s.ProvedAt = now
	}
	if err := m.store.PutSession(ctx, s); err != nil {
		return account.Secret{}, account.Principal{}, fmt.Errorf("issue a session: %w", err)
	}
	return value, principal(&s), nil
}

// Find gives the somebody behind a cookie's value. The errors are
// account.ErrNotFound (never issued here, or ended), account.ErrExpired, and
// whatever the store says when it cannot be asked: then nobody is in.
func (m *Manager) Find(ctx context.Context, value string) (account.Principal, error) {
	if len(value) != valueLength || !strings.HasPrefix(value, prefix) {
		return account.Principal{}, account.ErrNotFound // no look-up for what cannot be one
	}
	e, err := m.find(ctx, sha256.Sum256([]byte(value)))
	if err != nil {
		return account.Principal{}, err
	}
	return principal(&e.session), nil
}

func (m *Manager) find(ctx context.Context, key hash) (*entry, error) {
	now := time.Now()
	e := m.cache.get(key)
	if e == nil {
		var err error
		if e, err = m.load(ctx, key); err != nil {
			return nil, fmt.Errorf("look up session: %w", err)
		}
	}
	if !m.alive(&e.session, time.UnixMilli(e.seen.Load()), now) {
		return nil, account.ErrExpired
	}
	e.see(now)
	return e, nil
}

// load reads a session from the store into the cache. When anything was
// revoked while it read, it reads again: a session that has just ended must
// not come back.
func (m *Manager) load(ctx context.Context, key hash) (*entry, error) {
	for {
		before := m.ended.Load()
		s, err := m.store.Session(ctx, hex.EncodeToString(key[:]))
		if err != nil {
			return nil, err
		}
		e := newEntry(s)
		kept, evicted := m.cache.putIf(key, e, func() bool { return m.ended.Load() == before })
		if evicted != nil {
			m.late.add(evicted)
		}
		if kept {
			return e, nil
		}
	}
}

// alive tells whether a session may still be used.
func (m *Manager) alive(s *account.Session, seen, now time.Time) bool {
	idle := m.cfg.Idle
	if s.Role == account.Guest {
		if m.guestsOff.Load() && s.Passing() {
			return false
		}
		idle = m.cfg.GuestIdle
	}
	if !s.ExpiresAt.IsZero() && !now.Before(s.ExpiresAt) {
		return false
	}
	if live := m.epoch.Load(); live != nil && strings.HasPrefix(s.Epoch, PasswordEpoch) && s.Epoch != *live {
		return false
	}
	return now.Sub(seen) < idle && now.Sub(s.CreatedAt) < m.cfg.Absolute
}

func principal(s *account.Session) account.Principal {
	p := account.Principal{Role: s.Role, UserID: s.UserID, Name: s.Name, Method: account.ByCookie, Ref: s.Hash}
	if link, ok := strings.CutPrefix(s.Epoch, account.LinkEpoch); ok {
		p.Link = link
	}
	return p
}

// cut shortens text to n bytes without splitting a character, and drops what
// is not text.
func cut(text string, n int) string {
	text = strings.ToValidUTF8(text, "")
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}
