package people

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"comfylatch/internal/account"
	"comfylatch/internal/audit"
	"comfylatch/internal/login"
	"comfylatch/internal/session"
)

const linkPrefix = "ll_" // of a link's code

// How long links live: by default and at most.
const (
	InvitationLife = 7 * 24 * time.Hour
	ResetLife      = 24 * time.Hour
	GuestLife      = 24 * time.Hour
	PairingLife    = 5 * time.Minute
	maxLinkLife    = 90 * 24 * time.Hour
	maxRuns        = 100_000
)

// NewLink is what to make a link of.
type NewLink struct {
	Kind   account.LinkKind
	Role   account.Role  // of an invitation
	UserID string        // of a reset, or of an invitation to an account that exists
	Note   string        // for whom or what; may be empty
	Life   time.Duration // 0: the kind's own
	Runs   int           // of a guest link
}

// MakeLink makes a link and gives its code, which is kept nowhere. Errors:
// account.ErrNotAllowed, ErrNotFound, *InputError.
func (s *Service) MakeLink(ctx context.Context, by account.Principal, n NewLink) (account.Secret, account.Link, error) {
	l, err := s.newLink(ctx, by, n)
	if err != nil {
		return account.Secret{}, account.Link{}, err
	}
	code := account.RandomSecret(linkPrefix)
	l.ID, l.Hash, l.MadeBy, l.CreatedAt = account.NewID(), code.Hash(), by.Account(), now()
	if err := s.store.PutLink(ctx, l); err != nil {
		return account.Secret{}, account.Link{}, fmt.Errorf("make a link: %w", err)
	}
	s.record(ctx, audit.LinkMade, by, strings.TrimSpace(string(l.Kind)+" "+l.Name))
	return code, l, nil
}

func (s *Service) newLink(ctx context.Context, by account.Principal, n NewLink) (account.Link, error) {
	l := account.Link{Kind: n.Kind, Role: n.Role, UserID: n.UserID, Name: strings.TrimSpace(n.Note), Uses: 1}
	life := n.Life
	if utf8.RuneCountInString(l.Name) > account.MaxName || l.Name != "" && account.CheckName(l.Name) != nil {
		return l, &account.InputError{Field: "note", Sentence: fmt.Sprintf("The note is too long or cannot be shown: at most %d plain characters.", account.MaxName)}
	}
	if n.Kind != account.Pairing && !administers(by) {
		return l, account.ErrNotAllowed
	}
	switch n.Kind {
	case account.Pairing:
		if !by.Manages() || !by.InSession() {
			return l, account.ErrNotAllowed // a program has no phone
		}
		l.UserID, l.Role, l.Name, life = by.Account(), by.Role, by.Name, PairingLife
	case account.Invitation:
		if life == 0 {
			life = InvitationLife
		}
		if err := s.mayGive(by, n.Role); err != nil {
			return l, err
		}
		if n.UserID != "" {
			p, err := s.store.Person(ctx, n.UserID)
			if err != nil {
				return l, err
			}
			l.Name, l.Role = p.Name, p.Role
		}
	case account.Reset:
		life = ResetLife
		p, err := s.store.Person(ctx, n.UserID)
		if err != nil {
			return l, err
		}
		if p.Disabled() {
			return l, &account.InputError{Sentence: p.Name + " is disabled: enable the account first."}
		}
		l.Name, l.Role = p.Name, p.Role
	case account.GuestLink:
		l.UserID, l.Role, l.Uses = "", account.Guest, n.Runs
		if life == 0 {
			life = GuestLife
		}
		if n.Runs < 1 || n.Runs > maxRuns {
			return l, &account.InputError{Field: "runs", Sentence: fmt.Sprintf("The number of runs must be from 1 to %d.", maxRuns)}
		}
	default:
		return l, &account.InputError{Field: "kind", Sentence: "The kind must be invitation, reset, guest or phone."}
	}
	if life < time.Minute || life > maxLinkLife {
		return l, &account.InputError{Field: "expires", Sentence: "A link lives from one minute to 90 days."}
	}
	l.ExpiresAt = now().Add(life)
	return l, nil
}

// Links lists the live links: an administrator's view of all.
func (s *Service) Links(ctx context.Context, by account.Principal, page account.Page) ([]account.Link, error) {
	madeBy := by.Account()
	if administers(by) {
		madeBy = ""
	}
	return s.store.Links(ctx, madeBy, now(), bounded(page))
}

// RevokeLink takes a link back, with the sessions that it began. Another's is
// account.ErrNotFound, but for administrators.
func (s *Service) RevokeLink(ctx context.Context, by account.Principal, id string) error {
	madeBy := by.Account()
	if administers(by) {
		madeBy = ""
	} else if !by.Manages() {
		return account.ErrNotFound
	}
	gone, err := s.store.RevokeLink(ctx, id, madeBy, now())
	if err != nil {
		return err
	}
	s.ended(account.Ended{Sessions: gone})
	s.record(ctx, audit.Revocation, by, "link "+id)
	return nil
}

// Look tells what a code is for, without using it. A code that is wrong, used
// or expired is account.ErrLinkDead; many of them are an *account.ThrottledError.
func (s *Service) Look(ctx context.Context, code string, c login.Client) (account.Link, error) {
	if !strings.HasPrefix(code, linkPrefix) || len(code) > 100 {
		return account.Link{}, s.dead(c)
	}
	l, err := s.store.LinkByHash(ctx, account.NewSecret(code).Hash())
	switch {
	case errors.Is(err, account.ErrNotFound):
		return account.Link{}, s.dead(c)
	case err != nil:
		return account.Link{}, err
	case !l.Live(time.Now()):
		return account.Link{}, account.ErrLinkDead
	}
	return l, nil
}

func (s *Service) dead(c login.Client) error {
	if err := s.opt.Login.CountWrong(c); err != nil {
		return err
	}
	return account.ErrLinkDead
}

// Accept uses a code: it makes the account, chooses the password, or lets the
// guest or phone in, and begins a session. name and password are those of an
// invitation, password that of a reset.
func (s *Service) Accept(ctx context.Context, code, name, password string, c login.Client) (account.Secret, account.Principal, error) {
	none := func(err error) (account.Secret, account.Principal, error) {
		return account.Secret{}, account.Principal{}, err
	}
	l, err := s.Look(ctx, code, c)
	if err != nil {
		return none(err)
	}
	var who account.Principal
	terms := session.Terms{}
	kind := audit.LogIn
	switch l.Kind {
	case account.Invitation, account.Reset:
		var person account.Person
		if person, err = s.choose(ctx, l, strings.TrimSpace(name), password); err == nil {
			who, terms = person.Principal(), session.Terms{Epoch: person.SessionEpoch(), Proved: true}
		}
	case account.GuestLink:
		kind = audit.GuestEntry
		who = account.Principal{Role: account.Guest, Name: "guest"}
		terms = session.Terms{Epoch: account.LinkEpoch + l.ID, ExpiresAt: l.ExpiresAt}
	case account.Pairing:
		who, terms, err = s.pair(ctx, l)
	default:
		err = account.ErrLinkDead
	}
	if err != nil {
		return none(err)
	}
	secret, who, err := s.opt.Login.Begin(ctx, who, c, terms, kind)
	if err != nil {
		return none(err)
	}
	s.opt.Audit.Record(ctx, audit.By(audit.LinkUsed, who, c.Address, string(l.Kind)))
	return secret, who, nil
}

// choose uses an invitation or a reset: a new password is chosen.
func (s *Service) choose(ctx context.Context, l account.Link, name, password string) (account.Person, error) {
	fresh := l.Kind == account.Invitation && l.UserID == ""
	if fresh {
		if err := s.checkName(ctx, name); err != nil {
			return account.Person{}, err
		}
	} else {
		name = l.Name
	}
	if err := account.CheckPassword(password, name); err != nil {
		return account.Person{}, err
	}
	line, err := s.hash(ctx, password)
	if err != nil {
		return account.Person{}, err
	}
	if l.Kind == account.Reset {
		person, ended, err := s.store.ResetPassword(ctx, l.Hash, line, login.NewEpoch(), now())
		if err == nil {
			s.ended(ended)
			s.record(ctx, audit.Password, person.Principal(), "chosen anew by a reset link")
		}
		return person, err
	}
	person, err := s.store.AcceptInvitation(ctx, l.Hash, account.Person{ID: account.NewID(), Name: name, Password: line, Epoch: login.NewEpoch(), CreatedAt: now()}, now())
	if err == nil {
		s.record(ctx, audit.Account, person.Principal(), "joined by invitation, role "+person.Role.String())
	}
	return person, taken(err)
}

// pair uses a pairing code: the phone comes in as whoever made it.
func (s *Service) pair(ctx context.Context, l account.Link) (account.Principal, session.Terms, error) {
	l, err := s.store.TakeLink(ctx, l.Hash, account.Pairing, now())
	if err != nil {
		return account.Principal{}, session.Terms{}, err
	}
	if l.UserID == account.OwnerID {
		who, epoch, err := s.opt.Login.OwnerEpoch(ctx)
		return who, session.Terms{Epoch: epoch}, err
	}
	person, err := s.store.Person(ctx, l.UserID)
	if err != nil || person.Disabled() || person.Role != l.Role {
		return account.Principal{}, session.Terms{}, account.ErrLinkDead
	}
	return person.Principal(), session.Terms{Epoch: person.SessionEpoch()}, nil
}

// TakeRun counts a guest link's run down. account.ErrLinkDead: there is none left.
func (s *Service) TakeRun(ctx context.Context, linkID string) error {
	return s.store.TakeRun(ctx, linkID, now())
}

// GiveRun takes the count back: ComfyUI did not take the prompt.
func (s *Service) GiveRun(ctx context.Context, linkID string) {
	if err := s.store.GiveRun(context.WithoutCancel(ctx), linkID); err != nil {
		s.opt.Audit.Record(ctx, audit.Event{Kind: audit.Refusal, Detail: "a guest link's run could not be given back"})
	}
}
