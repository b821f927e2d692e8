package server

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"comfylatch/internal/account"
	"comfylatch/internal/comfy"
	"comfylatch/internal/login"
	"comfylatch/internal/web"
)

// identify finds out who asks. Wherever a key or token stands (Authorization,
// X-API-Key, the query, the path) it has the same rights; one that is wrong is
// refused even where none is needed. It is taken out of the request, so that
// it neither goes upstream nor into a log.
//
// A session cookie that is no longer good counts as none; x.Stale tells.
func (s *Server) identify(r *http.Request, x *exchange) (account.Principal, error) {
	value, err := credential(r, x)
	switch {
	case err == nil:
		return s.Login.Token(r.Context(), value, x.client(r))
	case !errors.Is(err, account.ErrNoCredentials):
		return account.Principal{}, err
	}
	who, err := s.bySession(r, x)
	if err != nil || who.Role != account.Anonymous || s.Auth {
		return who, err
	}
	// --auth off lets everybody in, and every listener is loopback; but a page
	// of a stranger's that a name server points here (DNS rebinding) is not
	// this machine.
	if loopbackHost(x.peer.host) && x.peer.local {
		return account.Principal{Role: account.Owner, UserID: account.OwnerID, Name: "owner"}, nil
	}
	return account.Principal{}, nil
}

func (s *Server) bySession(r *http.Request, x *exchange) (account.Principal, error) {
	value, state := web.SessionFrom(r, x.peer.secure)
	if state != web.CookieOne {
		return account.Principal{}, nil // two: another host may have set one, so none counts
	}
	who, err := s.Sessions.Find(r.Context(), value)
	if errors.Is(err, account.ErrExpired) || errors.Is(err, account.ErrNotFound) {
		x.stale = true
		return account.Principal{}, nil
	}
	return who, err
}

// credential collects every key or token in the request and takes it out.
// Errors: account.ErrNoCredentials, ErrBadCredentials (malformed or empty),
// ErrAmbiguous (two different ones).
func credential(r *http.Request, x *exchange) (string, error) {
	found := x.pathKey
	given := x.hasPathKey
	var bad error
	take := func(value string, err error) {
		switch {
		case err != nil:
			bad = err
		case value == "":
			bad = account.ErrBadCredentials
		case given && found != value:
			bad = account.ErrAmbiguous
		default:
			found, given = value, true
		}
	}
	for _, h := range r.Header.Values("Authorization") {
		x.basic = x.basic || !isBearer(h)
		take(authorization(h))
	}
	for _, h := range r.Header.Values("X-Api-Key") {
		take(strings.TrimSpace(h), nil)
	}
	for _, p := range x.req.Query {
		if p.Key == "token" || p.Key == "api_key" {
			// A bare "+" of a base64 key reads as a space; no key holds one.
			take(strings.ReplaceAll(p.Value, " ", "+"), nil)
		}
	}
	x.req.DropQuery("token")
	x.req.DropQuery("api_key")
	switch {
	case bad != nil:
		return "", bad
	case !given:
		return "", account.ErrNoCredentials
	case found == "":
		return "", account.ErrBadCredentials
	}
	return found, nil
}

func isBearer(header string) bool {
	scheme, _, _ := strings.Cut(strings.TrimSpace(header), " ")
	return strings.EqualFold(scheme, "Bearer")
}

// authorization reads "Bearer VALUE", or "Basic base64(any:VALUE)" for clients
// that know nothing else. Everything else is refused, never an error of ours.
func authorization(header string) (string, error) {
	scheme, value, _ := strings.Cut(strings.TrimSpace(header), " ")
	value = strings.TrimSpace(value)
	switch {
	case strings.ContainsAny(value, " \t"):
		return "", account.ErrBadCredentials
	case strings.EqualFold(scheme, "Bearer"):
		return value, nil
	case strings.EqualFold(scheme, "Basic"):
		text, err := base64.StdEncoding.DecodeString(value)
		if err != nil {
			return "", account.ErrBadCredentials
		}
		_, password, _ := strings.Cut(string(text), ":")
		return password, nil
	}
	return "", account.ErrBadCredentials
}

// splitKey takes a key off "/k/<key>/path", for clients that can send nothing
// else. A key of "openssl rand -base64" holds slashes, which people paste as
// they are: the fixed key is recognised so too. Random tokens hold none.
func (s *Server) splitKey(target string) (key, rest string, ok bool) {
	after, ok := strings.CutPrefix(target, "/k/")
	if !ok {
		return "", target, false
	}
	if n := len(s.APIKey.Reveal()); n > 0 && len(after) >= n && s.APIKey.Equal(after[:n]) {
		key, rest = after[:n], after[n:]
	} else {
		end := strings.IndexAny(after, "/?")
		if end < 0 {
			end = len(after)
		}
		key, rest = after[:end], after[end:]
		if decoded, err := url.PathUnescape(key); err == nil {
			key = decoded
		}
	}
	if !strings.HasPrefix(rest, "/") {
		rest = "/" + rest
	}
	return key, rest, true
}

// parse reads the request target once. From here on nobody looks at the raw
// URL again.
func (s *Server) parse(r *http.Request, x *exchange) (err error) {
	if r.URL.IsAbs() || r.URL.Opaque != "" || r.Method == http.MethodConnect {
		return &comfy.AmbiguousError{Reason: "the target is not a path"}
	}
	if r.ContentLength < 0 && len(r.TransferEncoding) > 1 {
		return &comfy.AmbiguousError{Reason: "more than one transfer encoding"}
	}
	var target string
	x.pathKey, target, x.hasPathKey = s.splitKey(r.RequestURI)
	x.req, err = comfy.Parse(r.Method, target)
	return err
}

// Identity proves keys and tokens; room login does.
type Identity interface {
	Token(ctx context.Context, value string, c login.Client) (account.Principal, error)
}

// Sessions finds who a session cookie belongs to; room session does.
// Errors: account.ErrExpired, account.ErrNotFound, or a fault of the store.
type Sessions interface {
	Find(ctx context.Context, value string) (account.Principal, error)
}
