// Package web is everything that the gate itself shows: the login, set-up,
// log-out and API-key pages, the small JSON API and scripts under /_latch/,
// and the pages that say no or not yet.
//
// It decides nothing about who may do what: the server has identified and
// authorised a request before it comes here, and room login proves passwords
// and keys. It never talks to ComfyUI.
//
// The rule that must hold: what a visitor sent goes back only through
// html/template or JSON, redirects stay on this site (see SafeNext), and a
// broken login.html of the owner's is never a lock-out.
package web

import (
	"context"
	"html/template"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"comfylatch/internal/account"
	"comfylatch/internal/comfy"
	"comfylatch/internal/login"
)

// LoginService proves who somebody is. Room login is one.
//
// Errors are those of package account; anything else is a fault of ours.
type LoginService interface {
	// Status says what the login page has to offer.
	Status() login.Status
	// LogIn checks a password. The empty name is the owner's.
	LogIn(ctx context.Context, name, password string, c login.Client) (account.Secret, account.Principal, error)
	// SetUp chooses the first name and password. The code is the console's;
	// it is not needed from the gate's own machine.
	SetUp(ctx context.Context, name, password, code string, c login.Client) (account.Secret, account.Principal, error)
	// Guest lets a guest in.
	Guest(ctx context.Context, c login.Client) (account.Secret, account.Principal, error)
	// Token checks an API key or token.
	Token(ctx context.Context, value string, c login.Client) (account.Principal, error)
	// BrowserToken makes a revocable token that a browser keeps in place of
	// the key that p was proved with.
	BrowserToken(ctx context.Context, p account.Principal, c login.Client) (account.Secret, account.Token, error)
	// LogOut ends the session or the browser token that p was found by.
	LogOut(ctx context.Context, p account.Principal) error
}

var _ LoginService = (*login.Service)(nil)

// Visit is what the server found out about a request before a page of ours
// answers it.
type Visit struct {
	Who    account.Principal
	Req    *comfy.Request // nil where the request could not be read
	Peer   netip.Addr     // the visitor's address
	Host   string         // the Host the visitor asked for
	Secure bool           // HTTPS as the visitor sees it
	Local  bool           // on the gate's own machine, nothing in between
	Stale  bool           // came with a session cookie that is no longer good
}

func (v Visit) client(r *http.Request) login.Client {
	return login.Client{Address: v.Peer, Agent: r.UserAgent(), Local: v.Local}
}

// query gives a value of the query, "" where there is none.
func (v Visit) query(key string) string {
	if v.Req == nil {
		return ""
	}
	value, _ := v.Req.Value(key)
	return value
}

// Options are what a Site is made of.
type Options struct {
	Login LoginService
	// Health gives the JSON value of GET /health and whether ComfyUI answers.
	Health func(context.Context) (any, bool)
	// Leave is told that a browser window of p's has been closed or left
	// alone. Nil: the switch --free-memory is off, and browsers are told so.
	Leave func(ctx context.Context, p account.Principal, clientID string)
	// Pictures answers what is under /_latch/api/incognito; room incognito
	// does. May be nil.
	Pictures func(w http.ResponseWriter, r *http.Request, req *comfy.Request, who account.Principal)
	// LoginPage is the path of the owner's own login page, "" for none. The
	// file need not exist.
	LoginPage string
	// SessionAge is how long a browser keeps the cookie; 0 means 30 days. The
	// session itself may end earlier.
	SessionAge time.Duration
	// PublicPrefetch lists public files of ComfyUI's frontend that the login
	// page may fetch while the password is typed. May be nil.
	PublicPrefetch func() []string
	// Desk is what the account and administration pages work on; nil: there
	// are none.
	Desk    *Desk
	Log     *slog.Logger
	Version string
}

// Site answers the requests that are ours.
type Site struct {
	opt    Options
	pages  *template.Template
	assets *assets
	own    *ownPage
}

// New reads the built-in templates and files. It starts nothing.
func New(o Options) (*Site, error) {
	if o.SessionAge == 0 {
		o.SessionAge = 30 * 24 * time.Hour
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	a, err := loadAssets(o.Version)
	if err != nil {
		return nil, err
	}
	pages, err := parsePages(a)
	if err != nil {
		return nil, err
	}
	return &Site{opt: o, pages: pages, assets: a, own: newOwnPage(o.LoginPage, o.Log)}, nil
}

// ServeHTTP answers a request whose route is one of ours. The visitor has been
// authorised for the route.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request, v Visit) {
	if v.Req == nil || v.Req.Route == nil {
		s.fail(w, r, account.ErrNotFound)
		return
	}
	switch v.Req.Route.Answer {
	case comfy.Login:
		s.serveLogin(w, r, v)
	case comfy.Logout:
		s.serveLogout(w, r, v)
	case comfy.HealthPage:
		s.serveHealth(w, r)
	case comfy.GuestMode:
		s.serveGuestMode(w, r, v)
	case comfy.AuthLogin:
		s.serveKeyPage(w, r, v)
	case comfy.AuthInject:
		s.serveInject(w, r)
	case comfy.Latch:
		s.serveLatch(w, r, v)
	default:
		s.fail(w, r, account.ErrNotFound)
	}
}

// serveHealth answers GET /health, for anybody: 200 or 503.
func (s *Site) serveHealth(w http.ResponseWriter, r *http.Request) {
	if !s.only(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	state, ok := any(map[string]string{"status": "unreachable"}), false
	if s.opt.Health != nil {
		state, ok = s.opt.Health(r.Context())
	}
	status := http.StatusOK
	if !ok {
		status = http.StatusServiceUnavailable
	}
	writeJSON(w, status, state)
}

// serveGuestMode answers GET /guest_mode as ComfyUI-Login did: is the asking
// visitor a guest?
func (s *Site) serveGuestMode(w http.ResponseWriter, r *http.Request, v Visit) {
	if !s.only(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	writeJSON(w, http.StatusOK, map[string]bool{"guestMode": v.Who.Role == account.Guest})
}
