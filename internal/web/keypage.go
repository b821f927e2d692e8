package web

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"
	"unicode/utf8"

	"comfylatch/internal/account"
)

// keyPage is what /auth_login.html is made of.
type keyPage struct {
	Error  string
	Next   string
	Wait   int
	Logout bool // end the session and forget the token: at once, by script
	Ask    bool // the same, but only on the button: the link stood on another site
}

// serveKeyPage answers /auth_login.html: log in with an API key. With
// JavaScript the key is exchanged at /_latch/api/browser-token; without, the
// form posts it here.
func (s *Site) serveKeyPage(w http.ResponseWriter, r *http.Request, v Visit) {
	if !s.only(w, r, http.MethodGet, http.MethodHead, http.MethodPost) {
		return
	}
	if r.Method != http.MethodPost {
		p := keyPage{Next: SafeNext(v.query("next"))}
		if v.query("logout") == "true" {
			site := r.Header.Get("Sec-Fetch-Site")
			p.Ask = site == "cross-site" || site == "same-site"
			p.Logout = !p.Ask
		}
		s.page(w, http.StatusOK, "key", p)
		return
	}
	f, err := readForm(w, r, v)
	if err == nil {
		_, err = s.keySession(w, r, v, f.Key, f.Remember)
	}
	if err == nil {
		redirect(w, http.StatusSeeOther, f.Next)
		return
	}
	why := s.explain(r, wrongKey(err))
	tell(w, why)
	s.page(w, why.status, "key", keyPage{Error: why.text, Next: SafeNext(f.Next), Wait: why.wait})
}

// wrongKey says "key" where the errors of account say "credentials".
func wrongKey(err error) error {
	switch {
	case errors.Is(err, account.ErrBadCredentials):
		return fault{status: http.StatusUnauthorized, text: "Wrong API key."}
	case errors.Is(err, account.ErrNoCredentials):
		return fault{status: http.StatusForbidden, text: "This key is not for browsers."}
	}
	return err
}

// keySession exchanges a key for a revocable browser token, which becomes the
// session cookie as well: one credential, so that a request that carries both
// the header and the cookie is not ambiguous. The key itself is kept nowhere.
func (s *Site) keySession(w http.ResponseWriter, r *http.Request, v Visit, key string, remember bool) (account.Secret, error) {
	switch {
	case key == "":
		return account.Secret{}, bad("Please enter your API key.")
	case len(key) > maxText || !utf8.ValidString(key):
		return account.Secret{}, bad("This is not an API key.")
	}
	who, err := s.opt.Login.Token(r.Context(), key, v.client(r))
	if err != nil {
		return account.Secret{}, err
	}
	secret, token, err := s.opt.Login.BrowserToken(r.Context(), who, v.client(r))
	if err != nil {
		return account.Secret{}, err
	}
	s.endOld(r.Context(), v)
	var age time.Duration // until the browser closes
	if remember {
		age = s.opt.SessionAge
		if !token.ExpiresAt.IsZero() {
			age = min(age, time.Until(token.ExpiresAt))
		}
	}
	setSession(w, secret, v.Secure, age)
	return secret, nil
}

// serveBrowserToken answers POST /_latch/api/browser-token:
// {"key": "…", "remember": true} → {"token": "…"} and the cookie.
func (s *Site) serveBrowserToken(w http.ResponseWriter, r *http.Request, v Visit) {
	if !s.only(w, r, http.MethodPost) {
		return
	}
	var asked struct {
		Key      string `json:"key"`
		Remember bool   `json:"remember"`
	}
	err := sameSite(r, v.Host)
	if err == nil {
		err = readJSON(w, r, &asked)
	}
	var secret account.Secret
	if err == nil {
		secret, err = s.keySession(w, r, v, asked.Key, asked.Remember)
	}
	if err != nil {
		s.fail(w, r, wrongKey(err))
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"token": secret.Reveal()})
}

// readJSON reads a small JSON body.
func readJSON(w http.ResponseWriter, r *http.Request, into any) error {
	if err := limitBody(w, r); err != nil {
		return err
	}
	body, err := readAll(r)
	if err != nil {
		return err
	}
	if !utf8.Valid(body) || json.Unmarshal(body, into) != nil {
		return bad("The body is not the JSON that is expected here.")
	}
	return nil
}
