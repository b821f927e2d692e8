package login

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"comfylatch/internal/account"
	"comfylatch/internal/audit"
	"comfylatch/internal/session"
)

// state is what the files say, at one moment. It never changes once shared.
type state struct {
	file    *passwordFile // nil: no password has been set
	err     error         // nobody may log in or set up: PASSWORD is damaged, or the store fails
	epoch   string        // names the present password; "" where there is none
	code    account.Secret
	console account.Secret // the console token
	guests  bool
}

// legacy is ComfyUI-Login's token: its bcrypt line, as long as it stands there.
func (st state) legacy() string {
	if st.file == nil || !st.file.hash.bcrypt {
		return ""
	}
	return st.file.hash.line
}

// sighting is what was last seen of the files, to notice a change cheaply.
type sighting struct {
	password fs.FileInfo // nil: not there
	settled  bool        // the state follows from it; otherwise it is read again
	damaged  time.Time
}

// A file that changed so shortly before it was read may change again without
// its time showing it.
const coarseClock = 100 * time.Millisecond

// Editors write a file in two steps. What hung on the old password ends when
// the file has been damaged for so long.
const damagedFor = time.Second

// look gives the state, after a glance at the files if the last one was more
// than 50 ms ago. It does not wait for another who looks.
func (s *Service) look(ctx context.Context) *state {
	since := int64(time.Since(s.started))
	if last := s.checked.Load(); since-last >= int64(checkEvery) && s.following.TryLock() {
		defer s.following.Unlock()
		s.followLocked(ctx)
	}
	return s.state.Load()
}

// follow looks at the files now, and gives what they say.
func (s *Service) follow(ctx context.Context) *state {
	s.following.Lock()
	defer s.following.Unlock()
	s.followLocked(ctx)
	return s.state.Load()
}

func (s *Service) followLocked(ctx context.Context) {
	// What a request noticed is finished even if its sender goes away.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	now := time.Now()
	s.checked.Store(int64(now.Sub(s.started)))
	info, err := os.Stat(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		info, err = nil, nil
	}
	if err != nil {
		s.fail(fmt.Errorf("look at the password file: %w", err))
		return
	}
	s.followGuests(ctx)
	if s.seen.settled && sameFile(s.seen.password, info) {
		return
	}
	settled := info == nil || now.Sub(info.ModTime()).Abs() > coarseClock
	s.seen.password, s.seen.settled = info, false
	if err := s.adopt(ctx); err != nil {
		s.fail(err)
		return
	}
	s.seen.settled, s.seen.damaged = settled, time.Time{}
}

func sameFile(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && a.Mode() == b.Mode()
}

// fail keeps everybody out until the files can be followed again.
func (s *Service) fail(err error) {
	old := s.current()
	if old.err == nil || old.err.Error() != err.Error() {
		s.opt.Log.Error("nobody can log in", "error", err)
	}
	s.share(func(st *state) { st.err = err })
}

// current is the state, empty before the first look.
func (s *Service) current() state {
	if st := s.state.Load(); st != nil {
		return *st
	}
	return state{}
}

func (s *Service) share(change func(*state)) {
	next := s.current()
	change(&next)
	s.state.Store(&next)
}

// adopt reads PASSWORD and makes it the state. The caller holds s.following.
func (s *Service) adopt(ctx context.Context) error {
	file, err := readPassword(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s.adoptNone(ctx)
	case err != nil:
		return s.damaged(ctx, err)
	}
	if s.seen.password != nil && s.seen.password.Mode().Perm()&0o077 != 0 && s.seen.password.Mode().IsRegular() {
		if os.Chmod(s.path, 0o600) == nil {
			s.opt.Log.Info("PASSWORD could be read by others: it is its owner's alone now", "file", s.path)
		}
	}
	epoch, known, err := s.readEpoch(ctx)
	if err != nil {
		return err
	}
	if print := fingerprint(file.hash); epoch == "" || !strings.Contains(known, print) {
		if epoch != "" {
			why := "PASSWORD was edited by hand"
			if print == s.changed {
				why = "the password was changed"
			}
			if err := s.endEpoch(ctx, why); err != nil {
				return err
			}
		}
		if epoch, err = s.newEpoch(ctx, print); err != nil {
			return err
		}
		if file.hash.bcrypt {
			s.opt.Audit.Record(ctx, audit.Event{Kind: audit.Import, Name: file.name, Detail: "a bcrypt hash in PASSWORD"})
		}
	}
	if err := s.opt.Sessions.RevokeEpoch(ctx, epoch); err != nil {
		return err
	}
	before := s.current()
	s.share(func(st *state) {
		st.file, st.err, st.epoch, st.code = &file, nil, epoch, account.Secret{}
		st.console = s.consoleToken(epoch)
	})
	if old := before.legacy(); old != "" && old != s.current().legacy() {
		s.opt.Sessions.End(tokenRef(account.NewSecret(old).Hash()))
	}
	if before.epoch != epoch {
		s.notify(Notice{Kind: PasswordSet, Name: file.name, Token: s.consoleToken(epoch)})
	}
	return nil
}

// adoptNone makes "no password" the state: set-up, with a new code.
func (s *Service) adoptNone(ctx context.Context) error {
	// Whatever the store says next, no session of a password counts.
	revoked := s.opt.Sessions.RevokeEpoch(ctx, "")
	epoch, _, err := s.readEpoch(ctx)
	if err := errors.Join(revoked, err); err != nil {
		return err
	}
	if epoch != "" {
		if err := s.endEpoch(ctx, "PASSWORD was deleted"); err != nil {
			return err
		}
		if err := s.opt.Store.PutMeta(ctx, map[string]string{metaEpoch: "", metaPrints: ""}); err != nil {
			return err
		}
	}
	if st := s.state.Load(); st != nil && st.err == nil && st.file == nil && !st.code.Empty() {
		return nil // as before: the code stays
	}
	code := newCode()
	s.share(func(st *state) {
		st.file, st.err, st.epoch, st.code, st.console = nil, nil, "", code, account.Secret{}
	})
	s.notify(Notice{Kind: SetUpNeeded, Code: code})
	return nil
}

// damaged is what a PASSWORD that cannot be read means: nobody gets in, and
// soon whoever came in by the old password is out.
func (s *Service) damaged(ctx context.Context, cause error) error {
	if s.seen.damaged.IsZero() {
		s.seen.damaged = time.Now()
	}
	if time.Since(s.seen.damaged) < damagedFor {
		return cause
	}
	return errors.Join(cause, s.opt.Sessions.RevokeEpoch(ctx, ""))
}

// endEpoch ends everything that hung on the password that is gone: sessions,
// the owner's tokens, the console's and ComfyUI-Login's token, open sockets.
// The new epoch is written after it, so that it is done again if we die here.
func (s *Service) endEpoch(ctx context.Context, why string) error {
	old := s.current()
	if !old.console.Empty() {
		s.opt.Sessions.End(tokenRef(old.console.Hash()))
	}
	if legacy := old.legacy(); legacy != "" {
		s.opt.Sessions.End(tokenRef(account.NewSecret(legacy).Hash()))
	}
	s.share(func(st *state) { st.console = account.Secret{} })
	err := s.opt.Sessions.RevokeEpoch(ctx, "")
	err = errors.Join(err, s.revokeTokens(ctx, func() ([]string, error) {
		return s.opt.Store.RevokeUserTokens(ctx, account.OwnerID, time.Now())
	}))
	gone, links := s.opt.Store.RevokeUserLinks(ctx, account.OwnerID, time.Now())
	s.opt.Sessions.End(gone...)
	err = errors.Join(err, links)
	if err != nil {
		return err
	}
	s.opt.Audit.Record(ctx, audit.Event{Kind: audit.Reset, Detail: why + ": the owner's sessions and tokens ended"})
	return nil
}

func (s *Service) followGuests(ctx context.Context) {
	on := s.opt.Guest
	if _, err := os.Stat(filepath.Join(s.opt.StateDir, guestModeName)); err == nil {
		on = true
	}
	st := s.state.Load()
	first := st == nil
	if !first && st.guests == on {
		return
	}
	if on {
		s.opt.Sessions.AllowGuests()
	} else if err := s.opt.Sessions.RevokeGuests(ctx); err != nil {
		s.opt.Log.Error("guests' sessions could not be ended, trying again", "error", err)
		return
	}
	s.share(func(st *state) { st.guests = on })
	if !first {
		s.opt.Audit.Record(ctx, audit.Event{Kind: audit.GuestMode, Detail: map[bool]string{true: "on", false: "off"}[on]})
	}
}

// The epoch is a random name for the present password set-up. It outlives a
// restart and the change of the hash's form, because the store remembers the
// fingerprints of the lines that it stands for.
const (
	metaEpoch  = "password.epoch"
	metaPrints = "password.prints"
)

func (s *Service) readEpoch(ctx context.Context) (epoch, prints string, err error) {
	epoch, err1 := s.opt.Store.Meta(ctx, metaEpoch)
	prints, err2 := s.opt.Store.Meta(ctx, metaPrints)
	for _, err := range []error{err1, err2} {
		if err != nil && !errors.Is(err, account.ErrNotFound) {
			return "", "", err
		}
	}
	return epoch, prints, nil
}

func (s *Service) newEpoch(ctx context.Context, print string) (string, error) {
	b := make([]byte, 16)
	rand.Read(b)
	epoch := session.PasswordEpoch + hex.EncodeToString(b)
	return epoch, s.opt.Store.PutMeta(ctx, map[string]string{metaEpoch: epoch, metaPrints: print})
}

func fingerprint(h passwordHash) string {
	sum := sha256.Sum256([]byte(h.line))
	return hex.EncodeToString(sum[:])
}

// consoleToken is the token that the console shows: the same at each start,
// another with each password. It takes both the epoch (in the database) and
// secret.key (a file beside it), so that neither alone gives it away.
func (s *Service) consoleToken(epoch string) account.Secret {
	return account.NewSecret(tokenPrefix + base64.RawURLEncoding.EncodeToString(s.derive("console token", epoch)))
}

func (s *Service) derive(purpose, text string) []byte {
	mac := hmac.New(sha256.New, []byte(s.secret.Reveal()))
	mac.Write([]byte(purpose + "\x00" + text))
	return mac.Sum(nil)
}
