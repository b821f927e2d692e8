package web

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"comfylatch/internal/account"
	"comfylatch/internal/comfy"
	"comfylatch/internal/login"
	"comfylatch/internal/policy"
	"comfylatch/internal/standin"
)

// tinyGate is as much of a server as browser tests need: a cookie is one of
// fakeLogin's, a request is decided by policy, ComfyUI is the stand-in.
type tinyGate struct {
	*httptest.Server
	site     *Site
	login    *fakeLogin
	comfy    *httputil.ReverseProxy
	starting atomic.Bool

	mu    sync.Mutex
	ended map[string]bool // cookies
	left  []string        // clients that said good-bye
	asked []string        // "METHOD path → who", of what ComfyUI was asked
}

// startGate stands in front of the stand-in with a real frontend, or with its
// own page where root is "".
func startGate(t *testing.T, root string) *tinyGate {
	back, err := standin.New(standin.Config{FrontEndRoot: root})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); back.Run(ctx) }()
	upstream := httptest.NewServer(back)
	t.Cleanup(func() { cancel(); <-done; upstream.CloseClientConnections(); upstream.Close(); back.Close() })

	to, _ := url.Parse(upstream.URL)
	g := &tinyGate{login: setUp(), ended: map[string]bool{}}
	g.comfy = &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Header.Del("Cookie")
		r.Out.Header.Del("Origin")
	}}
	g.site = newSite(t, g, func(o *Options) {
		o.Health = func(context.Context) (any, bool) { return map[string]string{"status": "ok"}, !g.starting.Load() }
		o.PublicPrefetch = func() []string { return []string{"/materialdesignicons.min.css"} }
		o.Leave = func(_ context.Context, _ account.Principal, id string) {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.left = append(g.left, id)
		}
	})
	g.Server = httptest.NewServer(g)
	t.Cleanup(func() { g.CloseClientConnections(); g.Close() })
	return g
}

func (g *tinyGate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	req, err := comfy.Parse(r.Method, r.RequestURI)
	if err != nil {
		g.site.BadRequest(w, r, err.Error())
		return
	}
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	v := Visit{Req: req, Host: r.Host, Peer: netip.MustParseAddr(host), Local: true}
	v.Who, v.Stale = g.find(r)
	switch d := policy.Decide(v.Who, req); {
	case d == policy.LogIn:
		g.site.Unauthorized(w, r, v, nil)
	case d == policy.Refuse:
		g.site.Forbidden(w, r, v, "This is not open to guests.")
	case isOurs(req.Route.Answer):
		g.site.ServeHTTP(w, r, v)
	case g.starting.Load():
		g.site.Unavailable(w, r, true)
	case req.Route.Answer == comfy.Extensions:
		rec := httptest.NewRecorder()
		r.Header.Del("Accept-Encoding")
		g.comfy.ServeHTTP(rec, r)
		body, err := g.site.Extensions(rec.Body.Bytes())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write(body)
	default:
		g.mu.Lock()
		g.asked = append(g.asked, r.Method+" "+req.Path()+" "+v.Who.Role.String())
		g.mu.Unlock()
		g.comfy.ServeHTTP(w, r)
	}
}

func isOurs(a comfy.Answer) bool {
	switch a {
	case comfy.Login, comfy.Logout, comfy.HealthPage, comfy.GuestMode, comfy.AuthLogin, comfy.AuthInject, comfy.Latch:
		return true
	}
	return false
}

// find knows the values that fakeLogin gives out.
func (g *tinyGate) find(r *http.Request) (who account.Principal, stale bool) {
	value, _ := SessionFrom(r, false)
	method := account.ByCookie
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		value, method = bearer, account.ByToken
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case value == "":
		return account.Principal{}, false
	case g.ended[value]:
		return account.Principal{}, true
	case value == "session-of-guest":
		who = guest
	case value == "session-of-owner" || value == "browser-token":
		who = owner
	default:
		return account.Principal{}, true
	}
	who.Method, who.Ref = method, value
	return who, false
}

func (g *tinyGate) hasEnded(value string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.ended[value]
}

func (g *tinyGate) wasAsked(line string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Contains(g.asked, line)
}

func (g *tinyGate) wasLeft() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.left) > 0
}

func (g *tinyGate) end(value string, ended bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended[value] = ended
}

// The gate is its own LoginService, so that log-outs are felt.

func (g *tinyGate) Status() login.Status { return g.login.Status() }
func (g *tinyGate) LogIn(ctx context.Context, name, password string, c login.Client) (account.Secret, account.Principal, error) {
	s, p, err := g.login.LogIn(ctx, name, password, c)
	g.end(s.Reveal(), false)
	return s, p, err
}
func (g *tinyGate) SetUp(ctx context.Context, name, password, code string, c login.Client) (account.Secret, account.Principal, error) {
	return g.login.SetUp(ctx, name, password, code, c)
}
func (g *tinyGate) Guest(ctx context.Context, c login.Client) (account.Secret, account.Principal, error) {
	s, p, err := g.login.Guest(ctx, c)
	g.end(s.Reveal(), false)
	return s, p, err
}
func (g *tinyGate) Token(ctx context.Context, value string, c login.Client) (account.Principal, error) {
	return g.login.Token(ctx, value, c)
}
func (g *tinyGate) BrowserToken(ctx context.Context, p account.Principal, c login.Client) (account.Secret, account.Token, error) {
	s, t, err := g.login.BrowserToken(ctx, p, c)
	g.end(s.Reveal(), false)
	return s, t, err
}
func (g *tinyGate) LogOut(_ context.Context, p account.Principal) error {
	g.end(p.Ref, true)
	return nil
}
