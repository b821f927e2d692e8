package session

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"comfylatch/internal/account"
)

// Revoke ends the session with this Ref, its open sockets too. One that has
// ended already is no error.
func (m *Manager) Revoke(ctx context.Context, ref string) error {
	_, err := m.store.DeleteSession(ctx, ref)
	m.End(ref) // also when the store failed: at least nothing stays in memory
	return told("revoke session", err)
}

// RevokeUser ends all sessions of a user but the one with exceptRef, and the
// sockets that the user's tokens hold.
func (m *Manager) RevokeUser(ctx context.Context, userID, exceptRef string) error {
	gone, err := m.store.DeleteUserSessions(ctx, userID, exceptRef)
	m.End(gone...)
	m.cache.drop(func(s *account.Session) bool { return s.UserID == userID && s.Hash != exceptRef })
	m.watches.endIf(func(p account.Principal) bool { return p.UserID == userID && p.Ref != exceptRef })
	return told("revoke a user's sessions", err)
}

// RevokeEpoch says which password epoch is the live one ("" while no password
// is set) and ends the sessions of every other. They are dead from now on even
// if the store fails.
func (m *Manager) RevokeEpoch(ctx context.Context, live string) error {
	m.epoch.Store(&live)
	doomed := m.cache.drop(func(s *account.Session) bool {
		return strings.HasPrefix(s.Epoch, PasswordEpoch) && s.Epoch != live
	})
	gone, err := m.store.DeleteEpochSessions(ctx, PasswordEpoch, live)
	m.End(append(gone, doomed...)...)
	return told("revoke the sessions of an older password", err)
}

// RevokeGuests ends the sessions of guests who came by guest mode, from now on until AllowGuests, even if
// the store fails.
func (m *Manager) RevokeGuests(ctx context.Context) error {
	m.guestsOff.Store(true)
	doomed := m.cache.drop((*account.Session).Passing)
	gone, err := m.store.DeletePassingSessions(ctx)
	m.End(append(gone, doomed...)...)
	m.watches.endIf(func(p account.Principal) bool { return p.Role == account.Guest && p.UserID == "" && p.Link == "" })
	return told("revoke the guests' sessions", err)
}

// Ended closes what hangs on a change of the store's: the sessions and tokens
// that ended with it. Tokens' refs begin with "token:".
func (m *Manager) Ended(gone account.Ended) {
	refs := slices.Clone(gone.Sessions)
	for _, hash := range gone.Tokens {
		refs = append(refs, account.TokenRef(hash))
	}
	m.End(refs...)
}

// AllowGuests lets guest sessions count again after RevokeGuests.
func (m *Manager) AllowGuests() { m.guestsOff.Store(false) }

// End closes what hangs on sessions or tokens that were ended in the store:
// what is remembered of them, and their open sockets.
func (m *Manager) End(refs ...string) {
	m.ended.Add(1) // before the cache is cleared, so that no load brings one back
	for _, ref := range refs {
		if key, ok := parseHash(ref); ok {
			m.cache.remove(key)
		}
	}
	m.watches.end(refs)
}

func told(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
