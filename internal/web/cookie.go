package web

import (
	"net/http"
	"strings"
	"time"

	"comfylatch/internal/account"
)

// CookieName is the name of the session cookie. On HTTPS the "__Host-" prefix
// makes browsers refuse one that another host, path or plain HTTP has set.
func CookieName(secure bool) string {
	if secure {
		return "__Host-comfylatch"
	}
	return "comfylatch"
}

// CookieState says what SessionFrom found.
type CookieState uint8

const (
	CookieNone  CookieState = iota // no session cookie
	CookieOne                      // exactly one
	CookieTwice                    // several: somebody else may have set one, so none counts
)

// SessionFrom gives the value of the session cookie. Cookies are counted in
// the header as it was sent, so that one which net/http would drop still makes
// two: which of several a program takes is anybody's guess.
func SessionFrom(r *http.Request, secure bool) (string, CookieState) {
	name, value, found := CookieName(secure), "", CookieNone
	for _, line := range r.Header["Cookie"] {
		for part := range strings.SplitSeq(line, ";") {
			k, v, _ := strings.Cut(part, "=")
			if strings.TrimSpace(k) != name {
				continue
			}
			if found != CookieNone {
				return "", CookieTwice
			}
			value, found = strings.Trim(v, " \t\""), CookieOne
		}
	}
	if value == "" && found == CookieOne {
		return "", CookieNone // logged out
	}
	return value, found
}

// setSession gives the browser its session, for age or, at 0, until it closes.
func setSession(w http.ResponseWriter, secret account.Secret, secure bool, age time.Duration) {
	c := sessionCookie(secure)
	c.Value, c.MaxAge = secret.Reveal(), int(age/time.Second)
	http.SetCookie(w, c)
}

// dropSession makes the browser forget its session cookie.
func dropSession(w http.ResponseWriter, secure bool) {
	c := sessionCookie(secure)
	c.MaxAge = -1
	http.SetCookie(w, c)
}

func sessionCookie(secure bool) *http.Cookie {
	return &http.Cookie{Name: CookieName(secure), Path: "/", HttpOnly: true, Secure: secure, SameSite: http.SameSiteLaxMode}
}
