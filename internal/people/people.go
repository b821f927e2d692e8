// Package people manages who has an account besides the owner: it makes,
// changes and removes accounts, and lists and ends their sessions, tokens and
// links. Links let somebody in without anybody typing a password for them:
// invitations, resets, guest links, and the pairing of a phone.
//
// It does not prove passwords (login does) and does not decide about requests
// (policy does). The owner is no account: their password is the PASSWORD
// file's.
//
// The rules that must hold: every change is one transaction of the store, which
// ends what hung on the state before, and when a method returns, sessions,
// tokens and sockets that should be dead are; what belongs to somebody else
// does not exist for those who are not administrators; nobody gives rights
// that they do not have.
package people

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"comfylatch/internal/account"
	"comfylatch/internal/audit"
	"comfylatch/internal/login"
)

// Store keeps people and links, and lists what hangs on them.
type Store interface {
	PutPerson(ctx context.Context, p account.Person) error
	Person(ctx context.Context, id string) (account.Person, error)
	PersonByName(ctx context.Context, name string) (account.Person, error)
	LooksLike(ctx context.Context, name string) (account.Person, error)
	People(ctx context.Context, page account.Page) ([]account.Person, error)
	SetRole(ctx context.Context, id string, role account.Role, epoch string, lastAdmin bool, at time.Time) (account.Ended, error)
	SetDisabled(ctx context.Context, id string, disabled time.Time, epoch string, lastAdmin bool, at time.Time) (account.Ended, error)
	RemovePerson(ctx context.Context, id string, lastAdmin bool, at time.Time) (account.Ended, error)
	SetPassword(ctx context.Context, id, oldEpoch, password, epoch string, at time.Time) (account.Ended, error)

	PutLink(ctx context.Context, l account.Link) error
	LinkByHash(ctx context.Context, hash string) (account.Link, error)
	Links(ctx context.Context, madeBy string, now time.Time, page account.Page) ([]account.Link, error)
	TakeLink(ctx context.Context, hash string, kind account.LinkKind, now time.Time) (account.Link, error)
	AcceptInvitation(ctx context.Context, hash string, p account.Person, now time.Time) (account.Person, error)
	ResetPassword(ctx context.Context, hash, password, epoch string, now time.Time) (account.Person, account.Ended, error)
	TakeRun(ctx context.Context, linkID string, now time.Time) error
	GiveRun(ctx context.Context, linkID string) error
	RevokeLink(ctx context.Context, id, madeBy string, at time.Time) ([]string, error)
	DropLinks(ctx context.Context, before time.Time) error

	Sessions(ctx context.Context, userID string, page account.Page) ([]account.Session, error)
	DeleteSession(ctx context.Context, hash string) ([]string, error)
	DeleteSessionOf(ctx context.Context, hash, userID string) ([]string, error)
	DeleteUserSessions(ctx context.Context, userID, except string) ([]string, error)
	TokenPage(ctx context.Context, userID string, page account.Page) ([]account.Token, error)
	RevokeToken(ctx context.Context, id string, at time.Time) ([]string, error)
	RevokeTokenOf(ctx context.Context, id, userID string, at time.Time) ([]string, error)
	FindEvents(ctx context.Context, f audit.Filter) ([]audit.Event, error)
}

// Options are what a Service is made of. Login is nil in a sub-command beside
// a gate: the gate then ends what a change has ended, within a second.
type Options struct {
	Store Store
	Login *login.Service
	Audit *audit.Log
	Owner string // the owner's name, where there is no Login to ask
}

// Service manages people. Make it with New; it starts nothing.
type Service struct {
	opt   Options
	store Store
}

// New makes a Service.
func New(o Options) *Service { return &Service{opt: o, store: o.Store} }

// Command is who acts at the command line: the owner of the state folder.
func Command() account.Principal {
	return account.Principal{Role: account.Owner, UserID: account.OwnerID, Name: "the command line"}
}

// MaxPage bounds one part of a list.
const MaxPage = 200

func bounded(page account.Page) account.Page {
	if page.Limit <= 0 || page.Limit > MaxPage {
		page.Limit = 50
	}
	return page
}

// List gives the accounts by name.
func (s *Service) List(ctx context.Context, page account.Page) ([]account.Person, error) {
	return s.store.People(ctx, bounded(page))
}

// Get finds an account by its ID. account.ErrNotFound.
func (s *Service) Get(ctx context.Context, id string) (account.Person, error) {
	return s.store.Person(ctx, id)
}

// Find finds an account by its ID or any spelling of its name.
func (s *Service) Find(ctx context.Context, idOrName string) (account.Person, error) {
	p, err := s.store.Person(ctx, idOrName)
	if errors.Is(err, account.ErrNotFound) {
		p, err = s.store.PersonByName(ctx, idOrName)
	}
	return p, err
}

// Add makes an account with a password, or without one ("") for an invitation
// to follow. What cannot be taken is an *account.InputError.
func (s *Service) Add(ctx context.Context, by account.Principal, name string, role account.Role, password string) (account.Person, error) {
	name = strings.TrimSpace(name)
	if err := s.mayGive(by, role); err != nil {
		return account.Person{}, err
	}
	if err := s.checkName(ctx, name); err != nil {
		return account.Person{}, err
	}
	p := account.Person{ID: account.NewID(), Name: name, Role: role, Epoch: login.NewEpoch(), CreatedAt: now()}
	if password != "" {
		if err := account.CheckPassword(password, name); err != nil {
			return account.Person{}, err
		}
		var err error
		if p.Password, err = s.hash(ctx, password); err != nil {
			return account.Person{}, err
		}
	}
	if err := taken(s.store.PutPerson(ctx, p)); err != nil {
		return account.Person{}, err
	}
	s.record(ctx, audit.Account, by, p.Name+" made, role "+role.String())
	return p, nil
}

// Import makes an account that is disabled until its invitation is accepted.
func (s *Service) Import(ctx context.Context, name string) (account.Person, error) {
	if err := s.checkName(ctx, name); err != nil {
		return account.Person{}, err
	}
	p := account.Person{ID: account.NewID(), Name: name, Role: account.User, Epoch: login.NewEpoch(), CreatedAt: now(), DisabledAt: now()}
	if err := taken(s.store.PutPerson(ctx, p)); err != nil {
		return account.Person{}, err
	}
	s.record(ctx, audit.Import, Command(), p.Name+" from users.json")
	return p, nil
}

// checkName refuses names that cannot be shown, or told from one that is there.
func (s *Service) checkName(ctx context.Context, name string) error {
	if err := account.CheckNewName(name); err != nil {
		return err
	}
	like, err := s.store.LooksLike(ctx, name)
	switch {
	case err == nil && account.FoldName(like.Name) == account.FoldName(name):
		return taken(account.ErrTaken)
	case err == nil:
		return &account.InputError{Field: "username", Sentence: fmt.Sprintf("The name looks like %q, which is somebody else's: please choose another.", like.Name)}
	case !errors.Is(err, account.ErrNotFound):
		return err
	}
	reserved := []string{account.OwnerID, "guest", "admin", s.opt.Owner}
	if s.opt.Login != nil {
		reserved = append(reserved, s.opt.Login.Status().OwnerName)
	}
	for _, other := range reserved {
		if other != "" && account.Skeleton(other) == account.Skeleton(name) {
			return taken(account.ErrTaken)
		}
	}
	return nil
}

func taken(err error) error {
	if errors.Is(err, account.ErrTaken) {
		return &account.InputError{Field: "username", Sentence: "This name is taken here: please choose another."}
	}
	return err
}

// mayGive lets administrators give roles up to admin.
func (s *Service) mayGive(by account.Principal, role account.Role) error {
	switch {
	case !administers(by):
		return account.ErrNotAllowed
	case role < account.Guest || role > account.Admin:
		return &account.InputError{Field: "role", Sentence: "The role must be guest, user or admin."}
	}
	return nil
}

// SetRole gives an account another role: its sessions end, and the tokens
// that have more rights than it.
func (s *Service) SetRole(ctx context.Context, by account.Principal, id string, role account.Role) error {
	if err := s.mayGive(by, role); err != nil {
		return err
	}
	return s.change(ctx, by, id, "role "+role.String(), func(lastAdmin bool) (account.Ended, error) {
		return s.store.SetRole(ctx, id, role, login.NewEpoch(), lastAdmin, now())
	})
}

// Disable locks an account out: its sessions, tokens and links end.
func (s *Service) Disable(ctx context.Context, by account.Principal, id string) error {
	return s.change(ctx, by, id, "disabled", func(lastAdmin bool) (account.Ended, error) {
		return s.store.SetDisabled(ctx, id, now(), login.NewEpoch(), lastAdmin, now())
	})
}

// Enable lets an account in again; what ended with Disable stays ended.
func (s *Service) Enable(ctx context.Context, by account.Principal, id string) error {
	return s.change(ctx, by, id, "enabled", func(bool) (account.Ended, error) {
		return s.store.SetDisabled(ctx, id, time.Time{}, login.NewEpoch(), false, now())
	})
}

// Remove forgets an account, with all that hung on it.
func (s *Service) Remove(ctx context.Context, by account.Principal, id string) error {
	return s.change(ctx, by, id, "removed", func(lastAdmin bool) (account.Ended, error) {
		return s.store.RemovePerson(ctx, id, lastAdmin, now())
	})
}

// SetPassword gives an account a password, without the old one: for the
// command line, whose user has the state folder anyway.
func (s *Service) SetPassword(ctx context.Context, by account.Principal, id, password string) error {
	p, err := s.store.Person(ctx, id)
	if err != nil {
		return err
	}
	if err := account.CheckPassword(password, p.Name); err != nil {
		return err
	}
	line, err := s.hash(ctx, password)
	if err != nil {
		return err
	}
	return s.change(ctx, by, id, "new password", func(bool) (account.Ended, error) {
		return s.store.SetPassword(ctx, id, p.Epoch, line, login.NewEpoch(), now())
	})
}

// change makes one change of an account by an administrator and closes what it
// ended. lastAdmin asks the store to keep an administrator: there is no owner.
func (s *Service) change(ctx context.Context, by account.Principal, id, what string, do func(lastAdmin bool) (account.Ended, error)) error {
	switch {
	case !administers(by):
		return account.ErrNotAllowed
	case id == account.OwnerID:
		return &account.InputError{Sentence: "The owner cannot be changed or removed here: the password file says who that is."}
	}
	p, err := s.store.Person(ctx, id)
	if err != nil {
		return err
	}
	ended, err := do(s.opt.Login != nil && !s.opt.Login.Status().SetUp)
	if errors.Is(err, account.ErrLastAdmin) {
		return &account.InputError{Sentence: fmt.Sprintf("%s is the last administrator: make somebody else one first.", p.Name)}
	}
	if err != nil {
		return err
	}
	s.ended(ended)
	s.record(ctx, audit.Account, by, p.Name+": "+what)
	return nil
}

// ended closes what a change in the store has ended, where there is a gate.
func (s *Service) ended(gone account.Ended) {
	if s.opt.Login != nil {
		s.opt.Login.Ended(gone)
	}
}

func (s *Service) hash(ctx context.Context, password string) (string, error) {
	if s.opt.Login == nil {
		return login.Hash(password), nil
	}
	return s.opt.Login.HashPassword(ctx, password)
}

func (s *Service) record(ctx context.Context, kind audit.Kind, by account.Principal, detail string) {
	s.opt.Audit.Record(ctx, audit.By(kind, by, netip.Addr{}, detail))
}

// Record notes that a principal did something here.
func (s *Service) Record(ctx context.Context, kind audit.Kind, by account.Principal, detail string) {
	s.record(ctx, kind, by, detail)
}

// Prune forgets links that died long ago.
func (s *Service) Prune(ctx context.Context) error {
	return s.store.DropLinks(ctx, time.Now().Add(-maxLinkLife))
}

// now is as exact as the store.
func now() time.Time { return time.Now().Truncate(time.Millisecond) }
