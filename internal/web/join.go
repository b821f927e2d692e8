package web

import (
	"errors"
	"net/http"
	"unicode/utf8"

	"comfylatch/internal/account"
)

// joinPage is what a link opens: an invitation, a reset, a guest's entry, or
// the pairing of a phone.
type joinPage struct {
	Kind  string
	Code  string
	Name  string // fixed, where the account exists; else what was typed
	Fixed bool
	Runs  int
	Now   string // who the visitor is already, "" for nobody
	Error string
	Wait  int
}

// serveJoin answers /_latch/join?code=…: looking uses nothing up, since
// messengers fetch what they show. The button does.
func (s *Site) serveJoin(w http.ResponseWriter, r *http.Request, v Visit) {
	if s.opt.Desk == nil {
		s.fail(w, r, account.ErrNotFound)
		return
	}
	if !s.only(w, r, http.MethodGet, http.MethodHead, http.MethodPost) {
		return
	}
	w.Header().Set("Referrer-Policy", "no-referrer")
	if r.Method == http.MethodPost {
		s.join(w, r, v)
		return
	}
	s.showJoin(w, r, v, joinPage{Code: v.query("code")}, fault{})
}

func (s *Site) join(w http.ResponseWriter, r *http.Request, v Visit) {
	fields, err := s.readDesk(w, r, v)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	code, name := fields.Get("code"), fields.Get("username")
	var secret account.Secret
	if err = checkJoin(name, fields.Get("password")); err == nil {
		secret, _, err = s.opt.Desk.People.Accept(r.Context(), code, name, fields.Get("password"), v.client(r))
	}
	var input *account.InputError
	switch {
	case err == nil:
		s.endOld(r.Context(), v)
		setSession(w, secret, v.Secure, s.opt.SessionAge)
		redirect(w, http.StatusSeeOther, "/")
	case errors.As(err, &input):
		s.showJoin(w, r, v, joinPage{Code: code, Name: name}, s.explain(r, err))
	default:
		s.fail(w, r, err)
	}
}

func checkJoin(name, password string) error {
	switch {
	case !utf8.ValidString(name) || !utf8.ValidString(password):
		return &account.InputError{Sentence: "The form has text that is not valid UTF-8."}
	case len(name) > maxText:
		return &account.InputError{Sentence: "The name is too long: at most 64 characters."}
	}
	return nil
}

func (s *Site) showJoin(w http.ResponseWriter, r *http.Request, v Visit, p joinPage, why fault) {
	link, err := s.opt.Desk.People.Look(r.Context(), p.Code, v.client(r))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	p.Kind, p.Runs, p.Error = string(link.Kind), link.Uses, why.text
	if link.UserID != "" {
		p.Name, p.Fixed = link.Name, true
	}
	if v.Who.Role > account.Anonymous {
		p.Now = s.visitor(v).Name
	}
	status := http.StatusOK
	if why.status != 0 {
		status = why.status
	}
	s.page(w, status, "join", p)
}
