package login

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"comfylatch/internal/account"
	"comfylatch/internal/audit"
	"comfylatch/internal/session"
)

// ChangePassword takes the old password and gives a new one. Everything that
// hung on the old one ends: sessions, tokens, links, open sockets. Whoever
// changed it gets a new session. Errors are those of LogIn.
func (s *Service) ChangePassword(ctx context.Context, p account.Principal, old, password string, c Client) (account.Secret, account.Principal, error) {
	none := func(err error) (account.Secret, account.Principal, error) {
		return account.Secret{}, account.Principal{}, err
	}
	if err := account.CheckPassword(password, p.Name); err != nil {
		return none(err)
	}
	if old == password {
		return none(&account.InputError{Field: "password", Sentence: "The new password is the old one."})
	}
	proved, err := s.prove(ctx, p, old, c)
	if err != nil {
		return none(err)
	}
	if proved.person.ID == "" {
		return s.changeOwner(ctx, proved.st, password, c)
	}
	line, err := s.HashPassword(ctx, password)
	if err != nil {
		return none(err)
	}
	person := proved.person
	epoch := NewEpoch()
	ended, err := s.opt.Store.SetPassword(ctx, person.ID, person.Epoch, line, epoch, time.Now())
	if errors.Is(err, account.ErrNotFound) { // changed meanwhile
		err = account.ErrBadCredentials
	}
	if err != nil {
		return none(fmt.Errorf("change the password: %w", err))
	}
	s.Ended(ended)
	s.opt.Audit.Record(ctx, audit.By(audit.Password, person.Principal(), c.Address, "changed: sessions and tokens ended"))
	person.Epoch = epoch
	return s.Begin(ctx, person.Principal(), c, session.Terms{Epoch: person.SessionEpoch(), Proved: true}, audit.LogIn)
}

// changeOwner writes PASSWORD anew; following the file ends what hung on the
// old password.
func (s *Service) changeOwner(ctx context.Context, st *state, password string, c Client) (account.Secret, account.Principal, error) {
	file := *st.file
	if err := s.hash(ctx, func() { file.hash = newHash(password) }); err != nil {
		return account.Secret{}, account.Principal{}, err
	}
	next, err := s.overwrite(context.WithoutCancel(ctx), st, file)
	if err != nil {
		return account.Secret{}, account.Principal{}, err
	}
	return s.Begin(ctx, ownerPrincipal(file.name), c, session.Terms{Epoch: next.epoch, Proved: true}, audit.LogIn)
}

func (s *Service) overwrite(ctx context.Context, st *state, file passwordFile) (*state, error) {
	s.following.Lock()
	defer s.following.Unlock()
	now, err := readPassword(s.path)
	if err != nil {
		return nil, err
	}
	if now.hash.line != st.file.hash.line {
		return nil, account.ErrBadCredentials // changed meanwhile: what is there counts
	}
	if err := writeWhole(s.path, file.text(), false); err != nil {
		return nil, fmt.Errorf("keep the new password: %w", err)
	}
	s.changed, s.seen.settled = fingerprint(file.hash), false
	s.followLocked(ctx)
	next := s.state.Load()
	if next.err != nil {
		return nil, next.err
	}
	if next.file == nil || next.file.hash.line != file.hash.line {
		return nil, account.ErrBadCredentials
	}
	return next, nil
}

// Prove checks the password of a session's holder again and notes when.
func (s *Service) Prove(ctx context.Context, p account.Principal, password string, c Client) error {
	if _, isToken := refHash(p.Ref); p.Ref == "" || isToken {
		return account.ErrNotAllowed // nothing to note it on
	}
	if err := s.CheckPassword(ctx, p, password, c); err != nil {
		return err
	}
	return s.opt.Store.ProveSession(ctx, p.Ref, time.Now())
}

// ProvedWithin tells whether a session's holder proved the password lately.
func (s *Service) ProvedWithin(ctx context.Context, p account.Principal, age time.Duration) (bool, error) {
	one, err := s.opt.Store.Session(ctx, p.Ref)
	if errors.Is(err, account.ErrNotFound) {
		return false, nil
	}
	return err == nil && time.Since(one.ProvedAt) < age, err
}

// HashPassword hashes a new password when the gate lets it.
func (s *Service) HashPassword(ctx context.Context, password string) (line string, err error) {
	err = s.hash(ctx, func() { line = newHash(password).line })
	return line, err
}

// Hash is HashPassword for a command, where nobody else hashes.
func Hash(password string) string { return newHash(password).line }

// Ended closes what hung on sessions and tokens that a change in the store has
// ended.
func (s *Service) Ended(gone account.Ended) {
	if len(gone.Tokens) > 0 {
		s.Tokens.forget()
	}
	s.opt.Sessions.Ended(gone)
}

// OwnerEpoch is the epoch of a session that the owner begins now, and their
// name. account.ErrSetUpNeeded while there is no password.
func (s *Service) OwnerEpoch(ctx context.Context) (who account.Principal, epoch string, err error) {
	st := s.follow(ctx)
	switch {
	case st.err != nil:
		return who, "", st.err
	case st.file == nil:
		return who, "", account.ErrSetUpNeeded
	}
	return ownerPrincipal(st.file.name), st.epoch, nil
}

// CountWrong counts a link or code that does not exist, as a wrong key is.
func (s *Service) CountWrong(c Client) error { return s.wrong.Count(c.Address) }

// checkFree refuses a name for the owner that is somebody else's here.
func (s *Service) checkFree(ctx context.Context, name string) error {
	_, err := s.opt.Store.LooksLike(ctx, name)
	switch {
	case err == nil:
		return &account.InputError{Field: "username", Sentence: "Somebody else has this name here, or one that looks like it: please choose another."}
	case errors.Is(err, account.ErrNotFound):
		return nil
	}
	return err
}

// OwnerName is the owner's name as the state folder has it, "" where it has none.
func OwnerName(stateDir string) string {
	file, err := readPassword(filepath.Join(stateDir, passwordName))
	if err != nil {
		return "" // no set-up yet, or the gate says what is wrong
	}
	return file.name
}

// NewEpoch names a person's state until their next change.
func NewEpoch() string { return rand.Text() }

// nobody is a hash that no password matches and that costs what a person's does.
func nobody() passwordHash {
	h := passwordHash{memory: argonMemory, time: argonTime, threads: argonThreads, salt: make([]byte, argonSalt), key: make([]byte, argonKey)}
	rand.Read(h.salt)
	rand.Read(h.key)
	return h
}

// SetGuests switches guest mode, by the file GUEST_MODE in the state folder.
// An *account.InputError where it was switched on for good at the start.
func (s *Service) SetGuests(ctx context.Context, on bool) error {
	if !on && s.opt.Guest {
		return &account.InputError{Sentence: "Guest mode was switched on at the start, by --guest or comfylatch.toml: take that away and restart."}
	}
	path := filepath.Join(s.opt.StateDir, guestModeName)
	var err error
	if on {
		err = writeWhole(path, nil, false)
	} else if err = os.Remove(path); errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("switch guest mode: %w", err)
	}
	s.follow(ctx)
	return nil
}
