package people_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"comfylatch/internal/account"
	"comfylatch/internal/audit"
	"comfylatch/internal/login"
	"comfylatch/internal/people"
	"comfylatch/internal/session"
	"comfylatch/internal/store"
	"comfylatch/internal/throttle"
)

// house is the rooms of identity on a real store, as the gate wires them.
type house struct {
	*people.Service
	login    *login.Service
	sessions *session.Manager
	db       *store.DB
	owner    account.Principal
	cookie   string // the owner's
	stop     func()
}

const (
	ownersPassword = "secret of the owner"
	good           = "correct horse battery"
)

var there = login.Client{Address: netip.MustParseAddr("192.0.2.7"), Agent: "test"}

type fataler interface {
	Helper()
	Fatal(...any)
}

func noError(t fataler, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// enter starts the rooms on a state folder and runs them until stop.
func enter(t fataler, dir string) *house {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	db, err := store.Open(ctx, filepath.Join(dir, store.FileName))
	noError(t, err)
	limiter, err := throttle.New(ctx, db)
	noError(t, err)
	log := slog.New(slog.DiscardHandler)
	events := audit.New(db, log)
	h := &house{db: db, sessions: session.New(db, session.Config{})}
	h.login, err = login.New(ctx, login.Options{StateDir: dir, Store: db, Sessions: h.sessions, Throttle: limiter, Audit: events, Log: log})
	noError(t, err)
	h.Service = people.New(people.Options{Store: db, Login: h.login, Audit: events})
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{h.login.Run, h.sessions.Run, events.Run} {
		wg.Go(func() { run(ctx) })
	}
	h.stop = func() { cancel(); wg.Wait(); db.Close() }
	return h
}

// setUp is a house with the owner Ada.
func setUp(t *testing.T) *house {
	t.Helper()
	h := enter(t, t.TempDir())
	t.Cleanup(func() { h.stop() })
	local := there
	local.Local = true
	secret, who, err := h.login.SetUp(t.Context(), "Ada", ownersPassword, "", local)
	noError(t, err)
	h.cookie, h.owner = secret.Reveal(), who
	return h
}

// invite makes an account by invitation and gives its holder and their cookie.
func (h *house) invite(t *testing.T, name string, role account.Role) (account.Principal, string) {
	t.Helper()
	code, _, err := h.MakeLink(t.Context(), h.owner, people.NewLink{Kind: account.Invitation, Role: role})
	noError(t, err)
	cookie, who, err := h.Accept(t.Context(), code.Reveal(), name, good, there)
	noError(t, err)
	if who.Role != role || who.Name != name || who.UserID == "" {
		t.Fatalf("joined as %+v", who)
	}
	return who, cookie.Reveal()
}

func (h *house) alive(t *testing.T, cookie string) bool {
	t.Helper()
	_, err := h.login.Find(t.Context(), cookie)
	return err == nil
}

func (h *house) wantDead(t *testing.T, what, cookie string) {
	t.Helper()
	if h.alive(t, cookie) {
		t.Errorf("%s: the session lives", what)
	}
}

func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func wantSentence(t *testing.T, what string, err error) {
	t.Helper()
	var input *account.InputError
	if !errors.As(err, &input) || !strings.HasSuffix(input.Sentence, ".") && !strings.Contains(input.Sentence, ":") {
		t.Errorf("%s: %v, want one clear sentence", what, err)
	}
}

func TestJoiningByInvitation(t *testing.T) {
	h := setUp(t)
	bo, cookie := h.invite(t, "Bo", account.User)
	if got, err := h.login.Find(t.Context(), cookie); err != nil || got != bo {
		t.Errorf("found %+v, %v, want %+v", got, err, bo)
	}
	for _, name := range []string{"Bo", "BO", " bo "} {
		if _, who, err := h.login.LogIn(t.Context(), name, good, there); err != nil || who.UserID != bo.UserID || who.Role != account.User {
			t.Errorf("log in as %q: %+v, %v", name, who, err)
		}
	}
	for name, password := range map[string]string{"Bo": ownersPassword, "Ada": good, "nobody": good, "": good} {
		_, _, err := h.login.LogIn(t.Context(), name, password, there)
		wantErr(t, name, err, account.ErrBadCredentials)
	}
}

func TestALinkWorksOnce(t *testing.T) {
	h := setUp(t)
	code, link, err := h.MakeLink(t.Context(), h.owner, people.NewLink{Kind: account.Invitation, Role: account.User})
	noError(t, err)
	if strings.Contains(link.Hash+link.ID, code.Reveal()) {
		t.Error("the code is kept")
	}
	for _, name := range []string{"ADA", "owner", "A da", "<b>x</b>", "a\u202eb", "bо", strings.Repeat("x", 10_000), "a  b", ""} {
		_, _, err := h.Accept(t.Context(), code.Reveal(), name, good, there)
		wantSentence(t, "name "+account.FoldName(name)[:min(8, len(account.FoldName(name)))], err)
	}
	for _, password := range []string{"short", "password1", "", strings.Repeat("x", 1001)} {
		_, _, err := h.Accept(t.Context(), code.Reveal(), "Bo", password, there)
		wantSentence(t, "password", err)
	}
	var wg sync.WaitGroup
	joined := make(chan string, 8)
	for i := range 8 {
		wg.Go(func() {
			_, who, err := h.Accept(t.Context(), code.Reveal(), "Bo"+strings.Repeat("x", i+1), good, there)
			if err == nil {
				joined <- who.Name
			} else if !errors.Is(err, account.ErrLinkDead) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(joined) != 1 {
		t.Errorf("%d joined by one link", len(joined))
	}
	_, err = h.Look(t.Context(), code.Reveal(), there)
	wantErr(t, "a used link", err, account.ErrLinkDead)
}

func TestDisablingActsAtOnce(t *testing.T) {
	h := setUp(t)
	bo, cookie := h.invite(t, "Bo", account.User)
	secret, _, err := h.MakeToken(t.Context(), bo, login.NewToken{Name: "script", Role: account.User})
	noError(t, err)
	program, err := h.login.Token(t.Context(), secret.Reveal(), there)
	noError(t, err)
	socket, release := h.sessions.Watch(program)
	defer release()
	noError(t, h.Disable(t.Context(), h.owner, bo.UserID))
	h.wantDead(t, "disabled", cookie)
	if _, err := h.login.Token(t.Context(), secret.Reveal(), there); !errors.Is(err, account.ErrBadCredentials) {
		t.Errorf("the token: %v", err)
	}
	select {
	case <-socket:
	case <-time.After(time.Second):
		t.Error("the socket is open after a second")
	}
	_, _, err = h.login.LogIn(t.Context(), "Bo", good, there)
	wantErr(t, "right password", err, account.ErrDisabled)
	_, _, err = h.login.LogIn(t.Context(), "Bo", "wrong", there)
	wantErr(t, "wrong password", err, account.ErrBadCredentials)
	noError(t, h.Enable(t.Context(), h.owner, bo.UserID))
	h.wantDead(t, "enabled again", cookie)
	if _, _, err := h.login.LogIn(t.Context(), "Bo", good, there); err != nil {
		t.Error(err)
	}
}

func TestChangingThePassword(t *testing.T) {
	h := setUp(t)
	for _, c := range []struct {
		name, old string
	}{{"Bo", good}, {"Ada", ownersPassword}} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "Bo" {
				h.invite(t, "Bo", account.User)
			}
			first, who, err := h.login.LogIn(t.Context(), c.name, c.old, there)
			noError(t, err)
			token, _, err := h.MakeToken(t.Context(), who, login.NewToken{Name: "script", Role: account.User})
			noError(t, err)
			_, _, err = h.login.ChangePassword(t.Context(), who, "wrong", "another long one", there)
			wantErr(t, "wrong old password", err, account.ErrBadCredentials)
			_, _, err = h.login.ChangePassword(t.Context(), who, c.old, "password1", there)
			wantSentence(t, "common", err)
			_, _, err = h.login.ChangePassword(t.Context(), who, c.old, c.old, there)
			wantSentence(t, "the same", err)
			second, again, err := h.login.ChangePassword(t.Context(), who, c.old, "another long one", there)
			noError(t, err)
			if again.UserID != who.UserID || !h.alive(t, second.Reveal()) {
				t.Errorf("after the change: %+v", again)
			}
			h.wantDead(t, "the old session", first.Reveal())
			if _, err := h.login.Token(t.Context(), token.Reveal(), there); err == nil {
				t.Error("the token lives")
			}
			if _, _, err := h.login.LogIn(t.Context(), c.name, "another long one", there); err != nil {
				t.Error(err)
			}
			_, _, err = h.login.LogIn(t.Context(), c.name, c.old, there)
			wantErr(t, "the old password", err, account.ErrBadCredentials)
		})
	}
}

func TestRolesChangeAtOnce(t *testing.T) {
	h := setUp(t)
	bo, cookie := h.invite(t, "Bo", account.Admin)
	admin, _, err := h.MakeToken(t.Context(), bo, login.NewToken{Name: "admin", Role: account.Admin})
	noError(t, err)
	run, _, err := h.MakeToken(t.Context(), bo, login.NewToken{Name: "run", Role: account.User, Scope: account.ScopeRun})
	noError(t, err)
	invitation, _, err := h.MakeLink(t.Context(), bo, people.NewLink{Kind: account.Invitation, Role: account.Admin})
	noError(t, err)
	noError(t, h.SetRole(t.Context(), h.owner, bo.UserID, account.User))
	h.wantDead(t, "demoted", cookie)
	if _, err := h.login.Token(t.Context(), admin.Reveal(), there); err == nil {
		t.Error("the administrator's token lives")
	}
	if p, err := h.login.Token(t.Context(), run.Reveal(), there); err != nil || p.Scope != account.ScopeRun || p.Role != account.User {
		t.Errorf("the user's token: %+v, %v", p, err)
	}
	_, err = h.Look(t.Context(), invitation.Reveal(), there)
	wantErr(t, "the invitation that they made", err, account.ErrLinkDead)
	_, now, err := h.login.LogIn(t.Context(), "Bo", good, there)
	if noError(t, err); now.Role != account.User {
		t.Errorf("logs in as %s", now.Role)
	}
	wantErr(t, "a user disables", h.Disable(t.Context(), now, bo.UserID), account.ErrNotAllowed)
	_, _, err = h.MakeLink(t.Context(), now, people.NewLink{Kind: account.Invitation, Role: account.User})
	wantErr(t, "a user invites", err, account.ErrNotAllowed)
	_, _, err = h.MakeToken(t.Context(), now, login.NewToken{Name: "more", Role: account.Admin})
	wantSentence(t, "a token above the role", err)
	wantSentence(t, "the owner is disabled", h.Disable(t.Context(), h.owner, account.OwnerID))
	wantSentence(t, "somebody is made owner", h.SetRole(t.Context(), h.owner, bo.UserID, account.Owner))
}

func TestResetGuestAndPhoneLinks(t *testing.T) {
	h := setUp(t)
	bo, cookie := h.invite(t, "Bo", account.User)
	reset, _, err := h.MakeLink(t.Context(), h.owner, people.NewLink{Kind: account.Reset, UserID: bo.UserID})
	noError(t, err)
	fresh, who, err := h.Accept(t.Context(), reset.Reveal(), "", "quite another one", there)
	if noError(t, err); who.UserID != bo.UserID {
		t.Errorf("reset for %+v", who)
	}
	h.wantDead(t, "reset", cookie)

	pair, _, err := h.MakeLink(t.Context(), who, people.NewLink{Kind: account.Pairing})
	noError(t, err)
	phone, onPhone, err := h.Accept(t.Context(), pair.Reveal(), "", "", there)
	if noError(t, err); onPhone.UserID != bo.UserID || onPhone.Role != account.User {
		t.Errorf("paired as %+v", onPhone)
	}
	if proved, err := h.login.ProvedWithin(t.Context(), onPhone, time.Hour); err != nil || proved {
		t.Error("a paired phone counts as a proved password")
	}
	_, _, err = h.Accept(t.Context(), pair.Reveal(), "", "", there)
	wantErr(t, "paired twice", err, account.ErrLinkDead)
	owners, _, err := h.MakeLink(t.Context(), h.owner, people.NewLink{Kind: account.Pairing})
	noError(t, err)
	if _, onPhone, err = h.Accept(t.Context(), owners.Reveal(), "", "", there); err != nil || onPhone.Role != account.Owner {
		t.Errorf("the owner's phone: %+v, %v", onPhone, err)
	}

	link, l, err := h.MakeLink(t.Context(), h.owner, people.NewLink{Kind: account.GuestLink, Runs: 2, Life: time.Hour})
	noError(t, err)
	visitor, guest, err := h.Accept(t.Context(), link.Reveal(), "", "", there)
	if noError(t, err); guest.Role != account.Guest || guest.Link != l.ID {
		t.Errorf("came as %+v", guest)
	}
	noError(t, h.TakeRun(t.Context(), guest.Link))
	noError(t, h.TakeRun(t.Context(), guest.Link))
	wantErr(t, "a third run", h.TakeRun(t.Context(), guest.Link), account.ErrLinkDead)
	if !h.alive(t, visitor.Reveal()) {
		t.Error("the guest is out although guest mode is off")
	}
	noError(t, h.RevokeLink(t.Context(), h.owner, l.ID))
	h.wantDead(t, "the link was taken back", visitor.Reveal())
	if !h.alive(t, fresh.Reveal()) || !h.alive(t, phone.Reveal()) {
		t.Error("others are out too")
	}
	for range 25 { // guessing is slowed down
		_, err = h.Look(t.Context(), "ll_"+strings.Repeat("x", 43), there)
	}
	var slow *account.ThrottledError
	if !errors.As(err, &slow) {
		t.Errorf("25 wrong codes: %v", err)
	}
}

func TestWhatIsAnothersDoesNotExist(t *testing.T) {
	h := setUp(t)
	bo, _ := h.invite(t, "Bo", account.User)
	cy, cookie := h.invite(t, "Cy", account.User)
	_, token, err := h.MakeToken(t.Context(), cy, login.NewToken{Name: "script", Role: account.User})
	noError(t, err)
	_, link, err := h.MakeLink(t.Context(), cy, people.NewLink{Kind: account.Pairing})
	noError(t, err)
	program := account.Principal{Role: account.User, UserID: bo.UserID, Method: account.ByToken, Ref: account.TokenRef("x")}
	owners := account.Principal{Role: account.User, UserID: account.OwnerID, Method: account.ByToken, Ref: account.TokenRef("y")}
	kept := owners
	kept.Method = account.ByCookie // the same token in a browser
	guest := account.Principal{Role: account.Guest, Method: account.ByCookie, Ref: "z"}
	for name, who := range map[string]account.Principal{"another user": bo, "a program": program, "the owner's token with a user's rights": owners, "that in a browser": kept, "a guest": guest, "a stranger": {}} {
		for what, err := range map[string]error{"session": h.EndSession(t.Context(), who, cy.Ref), "token": h.RevokeToken(t.Context(), who, token.ID), "link": h.RevokeLink(t.Context(), who, link.ID)} {
			wantErr(t, name+" ends a "+what, err, account.ErrNotFound)
		}
		for what, list := range map[string]func() (int, error){
			"sessions": func() (int, error) {
				l, err := h.Sessions(t.Context(), who, account.Page{})
				return own(l, cy.Ref), err
			},
			"all":    func() (int, error) { l, err := h.AllSessions(t.Context(), who, account.Page{}); return len(l), err },
			"tokens": func() (int, error) { l, err := h.AllTokens(t.Context(), who, account.Page{}); return len(l), err },
			"events": func() (int, error) { l, err := h.Events(t.Context(), who, audit.Filter{Limit: 1}); return len(l), err },
		} {
			if n, err := list(); n != 0 || err != nil && !errors.Is(err, account.ErrNotAllowed) {
				t.Errorf("%s lists %s: %d, %v", name, what, n, err)
			}
		}
		_, _, err := h.MakeLink(t.Context(), who, people.NewLink{Kind: account.Reset, UserID: cy.UserID})
		wantErr(t, name+" resets", err, account.ErrNotAllowed)
	}
	if _, _, err := h.MakeLink(t.Context(), kept, people.NewLink{Kind: account.Pairing}); !errors.Is(err, account.ErrNotAllowed) {
		t.Errorf("a token pairs a phone: %v", err)
	}
	if !h.alive(t, cookie) {
		t.Error("Cy is out")
	}
	noError(t, h.EndSession(t.Context(), h.owner, cy.Ref))
	h.wantDead(t, "ended by the owner", cookie)
}

func own(list []account.Session, ref string) (n int) {
	for _, s := range list {
		if s.Hash == ref {
			n++
		}
	}
	return n
}
