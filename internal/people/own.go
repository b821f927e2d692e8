package people

import (
	"context"

	"comfylatch/internal/account"
	"comfylatch/internal/audit"
	"comfylatch/internal/login"
)

// Sessions lists a principal's own sessions, the last used first.
func (s *Service) Sessions(ctx context.Context, by account.Principal, page account.Page) ([]account.Session, error) {
	if !by.Manages() {
		return nil, account.ErrNotAllowed
	}
	return s.store.Sessions(ctx, by.Account(), bounded(page))
}

// AllSessions lists everybody's, for administrators.
func (s *Service) AllSessions(ctx context.Context, by account.Principal, page account.Page) ([]account.Session, error) {
	if !administers(by) {
		return nil, account.ErrNotAllowed
	}
	return s.store.Sessions(ctx, "", bounded(page))
}

// EndSession ends one session by its ID. Another's is account.ErrNotFound, but
// for administrators.
func (s *Service) EndSession(ctx context.Context, by account.Principal, id string) error {
	var gone []string
	var err error
	switch {
	case administers(by):
		gone, err = s.store.DeleteSession(ctx, id)
	case by.Manages():
		gone, err = s.store.DeleteSessionOf(ctx, id, by.Account())
	}
	if err == nil && len(gone) == 0 {
		return account.ErrNotFound
	}
	if err != nil {
		return err
	}
	s.ended(account.Ended{Sessions: gone})
	s.record(ctx, audit.Revocation, by, "a session")
	return nil
}

// EndOtherSessions ends all of a principal's sessions but the one they use.
func (s *Service) EndOtherSessions(ctx context.Context, by account.Principal) (int, error) {
	if !by.Manages() {
		return 0, account.ErrNotAllowed
	}
	gone, err := s.store.DeleteUserSessions(ctx, by.Account(), by.Ref)
	if err != nil {
		return 0, err
	}
	s.ended(account.Ended{Sessions: gone})
	s.record(ctx, audit.Revocation, by, "all other sessions")
	return len(gone), nil
}

// Tokens lists a principal's own tokens, the newest first.
func (s *Service) Tokens(ctx context.Context, by account.Principal, page account.Page) ([]account.Token, error) {
	if !by.Manages() {
		return nil, account.ErrNotAllowed
	}
	return s.store.TokenPage(ctx, by.Account(), bounded(page))
}

// AllTokens lists everybody's, for administrators.
func (s *Service) AllTokens(ctx context.Context, by account.Principal, page account.Page) ([]account.Token, error) {
	if !administers(by) {
		return nil, account.ErrNotAllowed
	}
	return s.store.TokenPage(ctx, "", bounded(page))
}

// MakeToken makes a token of the principal's own, with no more rights than
// they have, and gives its value, which is kept nowhere.
func (s *Service) MakeToken(ctx context.Context, by account.Principal, n login.NewToken) (account.Secret, account.Token, error) {
	if !by.Manages() {
		return account.Secret{}, account.Token{}, account.ErrNotAllowed
	}
	n.UserID = by.Account()
	if n.Role > by.Role {
		return account.Secret{}, account.Token{}, &account.InputError{Field: "role", Sentence: "A token cannot have more rights than you have."}
	}
	return s.opt.Login.CreateToken(ctx, n)
}

// RevokeToken ends one token by its ID. Another's is account.ErrNotFound, but
// for administrators.
func (s *Service) RevokeToken(ctx context.Context, by account.Principal, id string) error {
	var gone []string
	var err error
	switch {
	case administers(by):
		gone, err = s.store.RevokeToken(ctx, id, now())
	case by.Manages():
		gone, err = s.store.RevokeTokenOf(ctx, id, by.Account(), now())
	}
	if err == nil && len(gone) == 0 {
		return account.ErrNotFound
	}
	if err != nil {
		return err
	}
	s.ended(account.Ended{Tokens: gone})
	s.record(ctx, audit.Revocation, by, "token "+id)
	return nil
}

// Events reads the audit log, for administrators.
func (s *Service) Events(ctx context.Context, by account.Principal, f audit.Filter) ([]audit.Event, error) {
	if !administers(by) {
		return nil, account.ErrNotAllowed
	}
	return s.store.FindEvents(ctx, f)
}

// administers tells whether a principal may do what concerns others.
func administers(by account.Principal) bool { return by.Role >= account.Admin && by.Manages() }
