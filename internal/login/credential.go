package login

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"comfylatch/internal/account"
	"comfylatch/internal/audit"
)

// Token decides what a key or token is worth, whatever it was sent in. Errors:
// account.ErrBadCredentials (also for the empty value), *ThrottledError after
// many wrong ones from one address, or a fault of ours: then nobody is in.
//
// While an address is throttled its right fixed key must wait as well, or
// guessing would cost nothing; random tokens cannot be guessed and pass, and so
// does the gate's own machine, where one program's old key must not stop all.
func (s *Service) Token(ctx context.Context, value string, c Client) (account.Principal, error) {
	if value == "" {
		return account.Principal{}, account.ErrBadCredentials
	}
	st := s.look(ctx)
	if !s.opt.APIKey.Empty() && s.opt.APIKey.Equal(value) {
		if blocked := s.wrong.Check(c.Address); blocked != nil && !c.Local {
			return account.Principal{}, blocked
		}
		return account.Principal{Role: account.Owner, Name: keyName, Method: account.ByKey}, nil
	}
	p, err := s.random(ctx, st, value, c)
	if errors.Is(err, account.ErrNotFound) || errors.Is(err, account.ErrExpired) {
		err = account.ErrBadCredentials
		if blocked := s.wrong.Count(c.Address); blocked != nil {
			return account.Principal{}, blocked
		}
		s.opt.Audit.Record(ctx, audit.Event{Kind: audit.Failure, Address: audit.Address(c.Address), Detail: "wrong key or token"})
	}
	return p, err
}

// random finds the credentials that we or bcrypt made at random.
func (s *Service) random(ctx context.Context, st *state, value string, c Client) (account.Principal, error) {
	if len(value) > maxCredential {
		return account.Principal{}, account.ErrNotFound
	}
	if st.err == nil && !st.console.Empty() && st.console.Equal(value) {
		return ownerToken(consoleTokenName, value), nil
	}
	if legacy := st.legacy(); st.err == nil && legacy != "" && account.NewSecret(legacy).Equal(value) {
		if s.warned.CompareAndSwap(false, true) {
			s.opt.Log.Warn("a program uses ComfyUI-Login's token: it ends at the next log-in by password; give the program the token that the console shows, or one from: comfylatch token create")
			s.opt.Audit.Record(ctx, audit.Event{Kind: audit.LegacyToken, Address: audit.Address(c.Address)})
		}
		return ownerToken("ComfyUI-Login token", value), nil
	}
	t, err := s.Tokens.find(ctx, value, audit.Address(c.Address))
	if err != nil {
		return account.Principal{}, err
	}
	return tokenPrincipal(t), nil
}

// ownerToken is who comes with a token that hangs on the owner's password.
func ownerToken(name, value string) account.Principal {
	return account.Principal{
		Role: account.Owner, UserID: account.OwnerID, Name: name, Method: account.ByToken,
		Ref: tokenRef(account.NewSecret(value).Hash()),
	}
}

// BrowserToken makes a token that a browser keeps in place of the credential
// that p was proved by, with the same rights. It can be revoked, and it dies
// with that credential: a changed fixed key, a revoked token, a new password.
func (s *Service) BrowserToken(ctx context.Context, p account.Principal, c Client) (account.Secret, account.Token, error) {
	if p.Role < account.User {
		return account.Secret{}, account.Token{}, account.ErrNoCredentials
	}
	t := account.Token{
		Name: p.Name, Kind: kindBrowser, UserID: p.UserID, Role: p.Role, Scope: p.Scope,
		ExpiresAt: time.Now().Add(browserTokenLife), UsedFrom: audit.Address(c.Address),
	}
	hash, isToken := refHash(p.Ref)
	switch {
	case p.Method == account.ByKey:
		t.Epoch = s.keyName
	case isToken:
		parent, err := s.opt.Store.TokenByHash(ctx, hash)
		switch {
		case errors.Is(err, account.ErrNotFound): // the console's, ComfyUI-Login's: dies as the owner's
		case err != nil:
			return account.Secret{}, account.Token{}, fmt.Errorf("make a browser token: %w", err)
		default:
			t.Epoch = tokenEpoch + parent.ID
			if !parent.ExpiresAt.IsZero() && parent.ExpiresAt.Before(t.ExpiresAt) {
				t.ExpiresAt = parent.ExpiresAt
			}
		}
	}
	value, t, err := s.put(ctx, browserPrefix, t)
	if errors.Is(err, account.ErrTaken) { // the account has changed meanwhile
		err = account.ErrBadCredentials
	}
	if err == nil {
		s.opt.Audit.Record(ctx, audit.By(audit.TokenMade, p, c.Address, "for a browser"))
	}
	return value, t, err
}

// CreateToken makes a named token; see Tokens.CreateToken.
func (s *Service) CreateToken(ctx context.Context, n NewToken) (account.Secret, account.Token, error) {
	value, t, err := s.Tokens.CreateToken(ctx, n)
	if err == nil {
		s.opt.Audit.Record(ctx, audit.Event{Kind: audit.TokenMade, Principal: "user:" + t.UserID, Name: t.Name, Detail: t.Grant()})
	}
	return value, t, err
}

// RevokeToken ends a token, and its open sockets, by its ID or name.
func (s *Service) RevokeToken(ctx context.Context, idOrName string) error {
	return s.revokeTokens(ctx, func() ([]string, error) {
		t, gone, err := s.Tokens.revoke(ctx, idOrName)
		if err == nil {
			s.opt.Audit.Record(ctx, audit.Event{Kind: audit.Revocation, Principal: "user:" + t.UserID, Name: t.Name, Detail: "token"})
		}
		return gone, err
	})
}

// revokeTokens runs a revocation in the store and closes what hung on it.
func (s *Service) revokeTokens(_ context.Context, revoke func() ([]string, error)) error {
	gone, err := revoke()
	if err != nil || len(gone) > 0 {
		s.Tokens.forget()
	}
	s.endTokens(gone)
	return err
}

func (s *Service) endTokens(hashes []string) {
	if len(hashes) == 0 {
		return
	}
	refs := make([]string, len(hashes))
	for i, hash := range hashes {
		refs[i] = tokenRef(hash)
	}
	s.opt.Sessions.End(refs...)
}

// recheckTokens follows another process: it forgets what is in memory and ends
// the sockets of tokens that are dead now.
func (s *Service) recheckTokens(ctx context.Context) error {
	err := s.Tokens.flush(ctx, 0)
	s.Tokens.forget()
	st := s.state.Load()
	own := []string{tokenRef(st.console.Hash()), tokenRef(account.NewSecret(st.legacy()).Hash())}
	now := time.Now()
	for _, ref := range s.opt.Sessions.Watched(tokenEpoch) {
		if slices.Contains(own, ref) {
			continue
		}
		t, found := s.opt.Store.TokenByHash(ctx, strings.TrimPrefix(ref, tokenEpoch))
		switch {
		case errors.Is(found, account.ErrNotFound) || found == nil && !t.Live(now):
			s.opt.Sessions.End(ref)
		case found != nil:
			err = errors.Join(err, found)
		}
	}
	return err
}

// keyEpoch names the fixed API key without giving it away, and without letting
// the database alone be used to guess it.
func (s *Service) keyEpoch() string {
	if s.opt.APIKey.Empty() {
		return keyEpoch
	}
	return keyEpoch + hex.EncodeToString(s.derive("api key", s.opt.APIKey.Reveal())[:16])
}
