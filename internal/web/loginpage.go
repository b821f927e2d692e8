package web

import (
	"context"
	"errors"
	"net/http"

	"comfylatch/internal/account"
)

// LoginPage is what the login page is made of. Its fields are what an owner's
// own login.html may use: as {{.Username}} in Go's template language, or under
// the names of ComfyUI-Login in Jinja's (see jinjaNames).
type LoginPage struct {
	FirstTime         bool   // no password yet: the form chooses one
	Username          string // the owner's name, or the one just typed; "" where not known
	WrongPassword     bool   // the last try failed
	PromptForUsername bool   // the password file has no name yet
	GuestMode         bool   // offer the guest button
	CodeNeeded        bool   // set-up from another machine: ask for the one-time code
	Error             string // why the last try failed, a sentence; "" for none
	Notice            string // something to know, a sentence; "" for none
	Next              string // where to go afterwards, for the hidden field "next"
	Wait              int    // seconds until the next try counts
	HasKey            bool   // an API key has been set
	LoggedOut         bool   // shown right after a log-out
	OwnerKnown        bool   // Username is the owner's, from the password file
}

// serveLogin answers /login: the form, and what it sends.
func (s *Site) serveLogin(w http.ResponseWriter, r *http.Request, v Visit) {
	if !s.only(w, r, http.MethodGet, http.MethodHead, http.MethodPost) {
		return
	}
	if r.Method == http.MethodPost {
		s.logIn(w, r, v)
		return
	}
	next := SafeNext(v.query("next"))
	// A guest may want to log in as somebody; a program's token is not kept.
	if v.Who.Role > account.Guest && (v.Who.Method == account.ByCookie || v.Who.Method == account.ByNothing) {
		redirect(w, http.StatusFound, next)
		return
	}
	p := s.loginPage(v, next)
	p.LoggedOut = v.query("logged_out") != "" && v.Who.Role == account.Anonymous
	switch {
	case v.Stale:
		dropSession(w, v.Secure)
		p.Notice = "Your session has ended. Please log in again."
	case p.LoggedOut:
		p.Notice = "You are logged out."
	}
	s.showLogin(w, http.StatusOK, p)
}

// loginPage fills in what does not depend on a try.
func (s *Site) loginPage(v Visit, next string) LoginPage {
	st := s.opt.Login.Status()
	if st.People { // then the owner's name is nobody else's business
		st.OwnerName = ""
	}
	return LoginPage{
		FirstTime:         !st.SetUp,
		Username:          st.OwnerName,
		OwnerKnown:        st.OwnerName != "",
		PromptForUsername: st.SetUp && st.NameNeeded,
		GuestMode:         st.Guests,
		HasKey:            st.HasKey,
		CodeNeeded:        !st.SetUp && !v.Local,
		Next:              next,
	}
}

// logIn answers POST /login: 303 with a session, or the form with the reason.
func (s *Site) logIn(w http.ResponseWriter, r *http.Request, v Visit) {
	f, err := readForm(w, r, v)
	if err == nil {
		err = s.tryLogIn(w, r, v, f)
	}
	if err == nil {
		redirect(w, http.StatusSeeOther, f.Next)
		return
	}
	why := s.explain(r, err)
	p := s.loginPage(v, SafeNext(f.Next))
	if f.Name != "" && why.status != http.StatusBadRequest {
		p.OwnerKnown = p.OwnerKnown && f.Name == p.Username
		p.Username = f.Name
	}
	if why.status == http.StatusUnauthorized {
		p.WrongPassword = true
		why.text = "Wrong name or password."
		if f.Name == "" {
			why.text = "Wrong password."
		}
		if f.Key != "" {
			p.WrongPassword, why.text = false, "Wrong API key."
		}
	}
	p.Error, p.Wait = why.text, why.wait
	tell(w, why)
	s.showLogin(w, why.status, p)
}

// tryLogIn proves who the form's sender is and gives the browser a session.
// The one that it had is ended: nobody keeps a session over a log-in.
func (s *Site) tryLogIn(w http.ResponseWriter, r *http.Request, v Visit, f form) error {
	if f.Key != "" {
		_, err := s.keySession(w, r, v, f.Key, f.Remember)
		return err
	}
	secret, err := s.prove(r.Context(), r, v, f)
	if err != nil {
		return err
	}
	s.endOld(r.Context(), v)
	setSession(w, secret, v.Secure, s.opt.SessionAge)
	return nil
}

func (s *Site) prove(ctx context.Context, r *http.Request, v Visit, f form) (account.Secret, error) {
	if f.Guest {
		secret, _, err := s.opt.Login.Guest(ctx, v.client(r))
		return secret, err
	}
	if err := checkPassword(f.Password); err != nil {
		return account.Secret{}, err
	}
	if s.opt.Login.Status().SetUp {
		secret, _, err := s.opt.Login.LogIn(ctx, f.Name, f.Password, v.client(r))
		if !errors.Is(err, account.ErrSetUpNeeded) {
			return secret, err
		}
		// PASSWORD was deleted just now: the same form does the set-up.
	}
	for _, err := range []error{account.CheckName(f.Name), account.CheckNewPassword(f.Password)} {
		if err != nil {
			return account.Secret{}, bad("%s", err)
		}
	}
	secret, _, err := s.opt.Login.SetUp(ctx, f.Name, f.Password, f.Code, v.client(r))
	return secret, err
}

// endOld ends the session that a visitor came with.
func (s *Site) endOld(ctx context.Context, v Visit) {
	if v.Who.Method != account.ByCookie {
		return
	}
	if err := s.opt.Login.LogOut(ctx, v.Who); err != nil && !errors.Is(err, account.ErrNotFound) {
		s.opt.Log.Error("the session before a log-in could not be ended", "err", err)
	}
}

// showLogin shows the owner's own page where there is one that works, and
// where it can do what is needed; the built-in one otherwise.
func (s *Site) showLogin(w http.ResponseWriter, status int, p LoginPage) {
	if body := s.own.render(p); body != nil {
		writePage(w, status, ownersPolicy, body)
		return
	}
	s.page(w, status, "login", p)
}
