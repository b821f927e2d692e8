// Package login proves who somebody is: by the PASSWORD file in the state
// folder, by an API key or token, or as a guest; and it does the first-time
// set-up. It follows the files while it runs: deleting PASSWORD starts the
// set-up again and ends what hung on the old password.
//
// It does not decide what somebody may do, and it knows nothing of HTTP.
//
// The rules that must hold: whoever guesses is counted before anything is
// hashed; a wrong name costs the same work and gives the same error as a wrong
// password; a PASSWORD file that cannot be read, or a store that does not
// answer, lets nobody in and nobody set up over it.
package login

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"comfylatch/internal/account"
	"comfylatch/internal/audit"
	"comfylatch/internal/session"
	"comfylatch/internal/throttle"
)

// Client is who is asking, as far as the network tells.
type Client struct {
	Address netip.Addr
	Agent   string // User-Agent
	Local   bool   // on the gate's own machine, with nothing in between
}

// Store keeps tokens, people's passwords and the few settings of this room.
type Store interface {
	TokenStore
	PersonStore
	Meta(ctx context.Context, key string) (string, error) // account.ErrNotFound where there is none
	PutMeta(ctx context.Context, values map[string]string) error
}

// PersonStore knows the people beside the owner, and when a session's holder
// last proved a password.
type PersonStore interface {
	Person(ctx context.Context, id string) (account.Person, error)
	PersonByName(ctx context.Context, name string) (account.Person, error) // in any spelling
	LooksLike(ctx context.Context, name string) (account.Person, error)
	AnyPerson(ctx context.Context) (bool, error)
	SetPassword(ctx context.Context, id, oldEpoch, password, epoch string, at time.Time) (account.Ended, error)
	RevokeUserLinks(ctx context.Context, userID string, at time.Time) ([]string, error)
	Session(ctx context.Context, hash string) (account.Session, error)
	ProveSession(ctx context.Context, hash string, at time.Time) error
}

// Options are what a Service is made of.
type Options struct {
	StateDir string         // holds PASSWORD and GUEST_MODE
	ComfyDir string         // ComfyUI's folder, where an old PASSWORD may lie; "" if unknown
	APIKey   account.Secret // the fixed API key; empty: none
	Guest    bool           // guest mode, whatever the file says
	Store    Store
	Sessions *session.Manager
	Throttle *throttle.Limiter
	Audit    *audit.Log
	Log      *slog.Logger
}

// Status is what a login page may tell everybody.
type Status struct {
	SetUp      bool   // a password exists
	OwnerName  string // "" where PASSWORD does not say
	NameNeeded bool   // PASSWORD has no name yet: the next log-in gives it one
	Guests     bool   // guest mode is on
	HasKey     bool   // there is a fixed API key
	People     bool   // there are accounts beside the owner's: ask for the name
}

// Limits of this room.
const (
	hashesWaiting    = 64        // log-ins that may queue for the hash gate
	smallHeap        = 128 << 20 // bytes
	wrongKeys        = 20        // a minute, from one address
	guestsPerMinute  = 60        // from one address
	maxCredential    = 4096
	checkEvery       = 50 * time.Millisecond  // the files are looked at on use at most this often
	pollEvery        = 200 * time.Millisecond // and this often when nobody asks
	tokensEvery      = 500 * time.Millisecond // tokens made or revoked by other processes
	flushEvery       = 15 * time.Second
	deadTokensKept   = 90 * 24 * time.Hour
	guestName        = "guest"
	keyName          = "API key"
	consoleTokenName = "console token"
)

// Service proves identities. Make it with New; its Run must be running.
type Service struct {
	*Tokens
	opt     Options
	path    string         // of PASSWORD
	secret  account.Secret // of secret.key
	keyName string         // the fixed key's epoch
	gate    *throttle.Gate
	wrong   *throttle.Window
	guests  *throttle.Window
	notices chan Notice
	hashed  atomic.Int64 // how often a password was hashed, for tests

	state     atomic.Pointer[state]
	checked   atomic.Int64 // when the files were last looked at, since started
	started   time.Time
	following sync.Mutex // one look at the files at a time
	seen      sighting   // guarded by following
	changed   string     // fingerprint of the hash that a change of the password has written; guarded by following
	nobodys   passwordHash
	warned    atomic.Bool
}

// New reads the state folder, which is made where it is missing, moves an old
// <ComfyUI>/PASSWORD into it, and ends what does not belong to the present
// password and key any more. A PASSWORD file that cannot be read is an error.
func New(ctx context.Context, o Options) (*Service, error) {
	if err := os.MkdirAll(o.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the state folder: %w", err)
	}
	s := &Service{
		Tokens: NewTokens(o.Store), opt: o, path: filepath.Join(o.StateDir, passwordName),
		gate:  throttle.NewGate(max(1, min(2, runtime.GOMAXPROCS(0)/2)), hashesWaiting),
		wrong: throttle.NewWindow(wrongKeys), guests: throttle.NewWindow(guestsPerMinute),
		notices: make(chan Notice, 16), started: time.Now(), nobodys: nobody(),
	}
	moved, err := moveOldPassword(o.ComfyDir, s.path)
	if err != nil {
		return nil, err
	}
	if moved {
		o.Log.Info("the old PASSWORD file was moved into the state folder", "to", s.path)
		o.Audit.Record(ctx, audit.Event{Kind: audit.Import, Detail: "PASSWORD moved from the ComfyUI folder"})
	}
	if s.secret, err = readSecret(filepath.Join(o.StateDir, secretName)); err != nil {
		return nil, err
	}
	s.keyName = s.keyEpoch()
	if err := s.revokeTokens(ctx, func() ([]string, error) {
		return o.Store.RevokeEpochTokens(ctx, keyEpoch, s.keyName, time.Now())
	}); err != nil {
		return nil, err
	}
	if err := o.Store.DropTokens(ctx, time.Now().Add(-deadTokensKept)); err != nil {
		return nil, err
	}
	if st := s.follow(ctx); st.err != nil {
		return nil, st.err
	}
	return s, nil
}

// Run follows the files and the tokens until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	poll, tokens, flush := time.NewTicker(pollEvery), time.NewTicker(tokensEvery), time.NewTicker(flushEvery)
	defer poll.Stop()
	defer tokens.Stop()
	defer flush.Stop()
	changes, _ := s.opt.Store.ForeignChanges(ctx)
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
			defer cancel()
			return s.Tokens.flush(last, 0)
		case <-poll.C:
			s.follow(ctx)
		case <-flush.C:
			s.logFault(ctx, s.Tokens.flush(ctx, useStep))
		case <-tokens.C:
			now := time.Now()
			s.logFault(ctx, s.revokeTokens(ctx, func() ([]string, error) { return s.opt.Store.RevokeExpiredTokens(ctx, now) }))
			n, err := s.opt.Store.ForeignChanges(ctx)
			if err == nil && n != changes {
				err = s.recheckTokens(ctx)
			}
			if s.logFault(ctx, err); err == nil {
				changes = n
			}
		}
	}
}

// logFault tells the log of background work that failed and will be tried again.
func (s *Service) logFault(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		s.opt.Log.Error("the store does not work: nobody new can log in until it does", "error", err)
	}
}

// Status says what the login page has to offer.
func (s *Service) Status() Status {
	ctx := context.Background()
	// Waits where somebody is following a change: a deleted PASSWORD ends the
	// sessions first, and browsers are at the login page before the rest is done.
	st := s.follow(ctx)
	out := Status{SetUp: st.file != nil || st.err != nil, Guests: st.guests, HasKey: !s.opt.APIKey.Empty()}
	if st.file != nil {
		out.OwnerName, out.NameNeeded = st.file.name, st.file.name == ""
	}
	people, err := s.opt.Store.AnyPerson(ctx)
	out.People = people || err != nil // then nobody's name is shown
	return out
}

// Find gives the somebody behind a cookie's value: a session, or the browser
// token that /auth_login.html obtained. Errors: account.ErrNotFound,
// account.ErrExpired, or a fault of the store: then nobody is in.
func (s *Service) Find(ctx context.Context, value string) (account.Principal, error) {
	s.look(ctx) // PASSWORD may have been deleted a moment ago
	if !isBrowserToken(value) {
		return s.opt.Sessions.Find(ctx, value)
	}
	t, err := s.Tokens.find(ctx, value, "")
	if err != nil {
		return account.Principal{}, err
	}
	p := tokenPrincipal(t)
	p.Method = account.ByCookie // a browser sends it by itself: cross-site rules apply
	return p, nil
}

// LogOut ends the session or browser token that p was found by. A program's
// token or key is not ended by logging out.
func (s *Service) LogOut(ctx context.Context, p account.Principal) error {
	hash, isToken := refHash(p.Ref)
	switch {
	case p.Ref == "" || isToken && hash == "":
		return nil
	case isToken:
		t, err := s.opt.Store.TokenByHash(ctx, hash)
		if errors.Is(err, account.ErrNotFound) || err == nil && t.Kind != kindBrowser {
			return nil
		}
		if err != nil {
			return fmt.Errorf("log out: %w", err)
		}
		if err := s.RevokeToken(ctx, t.ID); err != nil && !errors.Is(err, account.ErrNotFound) {
			return fmt.Errorf("log out: %w", err)
		}
	default:
		if err := s.opt.Sessions.Revoke(ctx, p.Ref); err != nil {
			return fmt.Errorf("log out: %w", err)
		}
	}
	s.opt.Audit.Record(ctx, audit.By(audit.LogOut, p, netip.Addr{}, ""))
	return nil
}
