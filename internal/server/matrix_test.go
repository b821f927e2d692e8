package server

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"comfylatch/internal/account"
	"comfylatch/internal/comfy"
	"comfylatch/internal/login"
	"comfylatch/internal/web"
)

// passer is a ComfyUI that notes that it was asked.
type passer struct{ asked int }

func (p *passer) ServeHTTP(w http.ResponseWriter, _ *http.Request, _ *comfy.Request, _ account.Principal) {
	p.asked++
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprint(w, "{}")
}

// visitor is somebody with a role, and what they send to show it.
type visitor struct {
	name   string
	role   account.Role
	scope  account.Scope
	dead   bool   // what they send is no longer good
	cookie string // "" where they have a key or token
	token  string
}

// ways are all the ways to send a key or token.
var ways = map[string]func(r *http.Request, target, token string) string{
	"bearer": func(r *http.Request, t, token string) string {
		r.Header.Set("Authorization", "Bearer "+token)
		return t
	},
	"basic":   func(r *http.Request, t, token string) string { r.SetBasicAuth("any", token); return t },
	"header":  func(r *http.Request, t, token string) string { r.Header.Set("X-API-Key", token); return t },
	"token":   func(_ *http.Request, t, token string) string { return t + "?token=" + url.QueryEscape(token) },
	"api_key": func(_ *http.Request, t, token string) string { return t + "?api_key=" + url.QueryEscape(token) },
	"path":    func(_ *http.Request, t, token string) string { return "/k/" + url.PathEscape(token) + t },
	"basic, no name": func(r *http.Request, t, token string) string {
		r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(":"+token)))
		return t
	},
}

// sample is a path of a pattern.
func sample(pattern string) string {
	parts := strings.Split(pattern, "/")
	for i, p := range parts {
		switch {
		case strings.HasSuffix(p, "...}"):
			parts[i] = "a/b"
		case strings.HasSuffix(p, "%}"):
			parts[i] = "a.json"
		case strings.HasPrefix(p, "{"):
			parts[i] = "a"
		}
	}
	return strings.Join(parts, "/")
}

// may says once more, from the words of docs/roles.md, who may do what: policy
// has its own.
func may(v visitor, method string, route *comfy.Route) bool {
	least := map[comfy.Access]account.Role{comfy.Public: account.Anonymous, comfy.Guests: account.Guest, comfy.Users: account.User, comfy.Admins: account.Admin}[route.Least]
	if route.Answer == comfy.Closed || v.role < least {
		return false
	}
	safe := method == "GET" || method == "HEAD"
	switch v.scope {
	case account.ScopeRead:
		return route.Least == comfy.Public || safe
	case account.ScopeRun:
		return route.Least == comfy.Public || safe || route.Least == comfy.Guests || route.Run
	}
	return true
}

// Every route × every role × every way to send a credential × plain and /api.
func TestMatrix(t *testing.T) {
	comfyUI := &passer{}
	var gate http.Handler
	h := newHouse(t, func(o *Options) {
		o.Upstream = comfyUI
		gate = New(*o)
	})
	requests := 0
	visitors := h.visitors()
	for i := range comfy.Table {
		route := &comfy.Table[i]
		for _, method := range strings.Fields(strings.ReplaceAll(route.Methods, "*", "GET POST PUT")) {
			path := sample(route.Pattern)
			for _, target := range []string{path, "/api" + path} {
				req, err := comfy.Parse(method, target)
				if err != nil {
					t.Fatal(err)
				}
				for _, v := range visitors {
					if req.Route.Answer == comfy.Logout && method == http.MethodPost && v.cookie != "" {
						continue // it would be their last
					}
					if v.token == "" {
						requests++
						checkOne(t, gate, comfyUI, v, "cookie", method, target, req.Route)
						continue
					}
					for way := range ways {
						requests++
						checkOne(t, gate, comfyUI, v, way, method, target, req.Route)
					}
				}
			}
		}
	}
	t.Logf("%d requests", requests)
}

func checkOne(t *testing.T, gate http.Handler, comfyUI *passer, v visitor, way, method, target string, route *comfy.Route) {
	t.Helper()
	r := httptest.NewRequest(method, "/", http.NoBody)
	r.Host, r.RequestURI, r.RemoteAddr = "127.0.0.1", target, "192.0.2.7:1"
	if v.dead {
		r.RemoteAddr = "192.0.2.8:1" // where they are soon told to wait
	}
	r.Header.Set("Origin", "http://127.0.0.1") // as our own page would
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if v.cookie != "" {
		r.Header.Set("Cookie", v.cookie)
	}
	if f := ways[way]; f != nil {
		r.RequestURI = f(r, target, v.token)
	}
	w := httptest.NewRecorder()
	before := comfyUI.asked
	gate.ServeHTTP(w, r)
	asked := comfyUI.asked > before
	allowed := may(v, method, route) && !v.dead
	// A wrong credential is refused even where none is needed; a stale cookie is none.
	if v.dead && v.cookie != "" {
		allowed = route.Least == comfy.Public
	}
	what := fmt.Sprintf("%s by %s: %s %s", v.name, way, method, target)
	ours := route.Answer == comfy.Latch // each page decides itself
	switch {
	case !allowed && asked:
		t.Errorf("%s went to ComfyUI", what)
	case !allowed && (v.role == account.Anonymous || v.dead) && w.Code != http.StatusUnauthorized && w.Code != http.StatusFound && w.Code != http.StatusTooManyRequests:
		t.Errorf("%s: %d, want 401", what, w.Code)
	case !allowed && v.role > account.Anonymous && !v.dead && w.Code != http.StatusForbidden:
		t.Errorf("%s: %d, want 403", what, w.Code)
	case allowed && route.Answer == comfy.Pass && w.Code == http.StatusForbidden:
		t.Errorf("%s: %d %s", what, w.Code, w.Body)
	case allowed && !ours && w.Code == http.StatusUnauthorized && route.Answer != comfy.Login && route.Answer != comfy.AuthLogin:
		t.Errorf("%s: 401", what)
	}
}

// visitors are everybody there can be.
func (h *house) visitors() []visitor {
	h.t.Helper()
	all := []visitor{{name: "a stranger"}, {name: "the owner", role: account.Owner, cookie: h.setUp()}, {name: "a guest", role: account.Guest, cookie: h.guest()},
		{name: "the fixed key", role: account.Owner, token: testKey}, {name: "nobody's token", dead: true, token: "cl_" + strings.Repeat("x", 43)},
		{name: "an old cookie", dead: true, cookie: web.CookieName(false) + "=cs_" + strings.Repeat("x", 43)}}
	there := login.Client{Address: netip.MustParseAddr("192.0.2.7")}
	for _, p := range []struct {
		name string
		role account.Role
	}{{"guest", account.Guest}, {"user", account.User}, {"admin", account.Admin}} {
		name := "person of role " + p.name
		person := account.Person{ID: "id-" + p.name, Name: name, Role: p.role, Password: login.Hash("correct horse"), Epoch: "e", CreatedAt: time.Now()}
		if err := h.db.PutPerson(h.t.Context(), person); err != nil {
			h.t.Fatal(err)
		}
		secret, _, err := h.login.LogIn(h.t.Context(), name, "correct horse", there)
		if err != nil {
			h.t.Fatal(err)
		}
		all = append(all, visitor{name: name, role: p.role, cookie: web.CookieName(false) + "=" + secret.Reveal()})
	}
	for word, user := range map[string]string{"guest": "id-guest", "read": "id-user", "run": "id-user", "user": "id-user", "admin": "id-admin", "owner": account.OwnerID} {
		role, scope, err := account.ParseGrant(word)
		if err != nil {
			h.t.Fatal(err)
		}
		secret, _, err := h.login.CreateToken(h.t.Context(), login.NewToken{Name: word, Role: role, Scope: scope, UserID: user})
		if err != nil {
			h.t.Fatal(err)
		}
		all = append(all, visitor{name: "a token that may " + word, role: role, scope: scope, token: secret.Reveal()})
	}
	return all
}
