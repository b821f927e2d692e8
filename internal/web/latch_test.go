package web

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"comfylatch/internal/account"
)

func TestStrangersGetOnlyWhatTheLoginNeeds(t *testing.T) {
	s := newSite(t, setUp())
	css, err := s.assets.address("latch.css")
	if err != nil {
		t.Fatal(err)
	}
	for target, status := range map[string]int{
		css: 200, "/_latch/static/latch.css": 200, "/_latch/static/0123456789ab/latch.css": 200, "/_latch/prefetch.json": 200, "/auth_inject.js": 200,
		s.assets.module("comfylatch.js"): 401, "/_latch/app/comfylatch.js": 401, "/_latch/api/me": 401, "/_latch/nothing": 401, "/_latch/account": 401,
		"/_latch/static/nothing.css": 404, "/_latch/static/app/comfylatch.js": 404, "/_latch/static/": 404,
	} {
		t.Run(target, func(t *testing.T) {
			wantStatus(t, ask{target: target}.to(t, s), status)
		})
	}
	wantStatus(t, ask{method: "POST", target: "/_latch/leave", body: `{"clientId":"a"}`}.to(t, s), 401)
	wantStatus(t, ask{target: s.assets.module("comfylatch.js"), who: guest}.to(t, s), 200)
	wantStatus(t, ask{target: "/_latch/nothing", who: owner}.to(t, s), 404)
}

func TestAssetsAreKeptByTheirFingerprint(t *testing.T) {
	s := newSite(t, setUp())
	fixed, _ := s.assets.address("latch.css")
	w := ask{target: fixed}.to(t, s)
	if got := w.Header().Get("Cache-Control"); !strings.Contains(got, "immutable") {
		t.Errorf("Cache-Control %q", got)
	}
	plain := ask{target: "/_latch/static/latch.css"}
	w = plain.to(t, s)
	if got := w.Header().Get("Cache-Control"); got != "no-cache" {
		t.Errorf("Cache-Control %q", got)
	}
	plain.header = map[string]string{"If-None-Match": w.Header().Get("ETag")}
	wantStatus(t, plain.to(t, s), http.StatusNotModified)
	wantStatus(t, ask{method: "POST", target: fixed}.to(t, s), http.StatusMethodNotAllowed)
	if again := newSite(t, setUp(), func(o *Options) { o.Version = "next" }); again.assets.print == s.assets.print {
		t.Error("another version has the same fingerprint")
	}
}

func TestEveryAssetHasAType(t *testing.T) {
	s := newSite(t, setUp())
	for name := range s.assets.files {
		w := ask{target: "/_latch/" + name, who: owner}.to(t, s)
		wantStatus(t, w, http.StatusOK)
		if w.Header().Get("Content-Type") == "" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", name, w.Header())
		}
	}
}

func TestMe(t *testing.T) {
	on := newSite(t, setUp(), func(o *Options) { o.Leave = func(context.Context, account.Principal, string) {} })
	w := ask{target: "/_latch/api/me", who: owner}.to(t, on)
	wantStatus(t, w, http.StatusOK)
	me := fromJSON(t, w)
	for k, want := range map[string]any{"name": "Ada", "role": "owner", "guest": false, "freeMemory": true, "logout": "/logout", "method": "session"} {
		if me[k] != want {
			t.Errorf("%s: %v, want %v", k, me[k], want)
		}
	}
	me = fromJSON(t, ask{target: "/_latch/api/me", who: guest}.to(t, newSite(t, setUp())))
	if me["guest"] != true || me["name"] != "guest" || me["freeMemory"] != false {
		t.Errorf("a guest: %v", me)
	}
}

func TestLeave(t *testing.T) {
	var left []string
	s := newSite(t, setUp(), func(o *Options) {
		o.Leave = func(_ context.Context, p account.Principal, id string) { left = append(left, p.ID()+" "+id) }
	})
	for body, status := range map[string]int{
		`{"clientId":"0123-abc"}`: 204, `{"clientId":""}`: 400, `{}`: 400, `x`: 400, `{"clientId":"a b"}`: 400,
		`{"clientId":"` + strings.Repeat("x", 200) + `"}`: 400, `{"clientId":7}`: 400, `{"clientId":"a\nb"}`: 400,
	} {
		w := ask{method: "POST", target: "/_latch/leave", body: body, who: owner, header: map[string]string{"Content-Type": "text/plain;charset=UTF-8"}}.to(t, s)
		if w.Code != status {
			t.Errorf("%s: %d, want %d", body, w.Code, status)
		}
	}
	if len(left) != 1 || left[0] != "user:owner 0123-abc" {
		t.Errorf("told %v", left)
	}
	wantStatus(t, ask{target: "/_latch/leave", who: owner}.to(t, s), http.StatusMethodNotAllowed)
	off := newSite(t, setUp())
	wantStatus(t, ask{method: "POST", target: "/_latch/leave", body: `{"clientId":"a"}`, who: owner}.to(t, off), http.StatusNoContent)
}

func TestGuestMode(t *testing.T) {
	s := newSite(t, setUp())
	for who, want := range map[account.Principal]bool{guest: true, owner: false, {}: false} {
		w := ask{target: "/guest_mode", who: who}.to(t, s)
		wantStatus(t, w, http.StatusOK)
		if got := fromJSON(t, w)["guestMode"]; got != want {
			t.Errorf("%s: %v", who.Role, got)
		}
	}
}

func TestHealth(t *testing.T) {
	ok := true
	s := newSite(t, setUp(), func(o *Options) {
		o.Health = func(context.Context) (any, bool) { return map[string]any{"status": "ok"}, ok }
	})
	w := ask{target: "/health"}.to(t, s)
	wantStatus(t, w, http.StatusOK)
	if got := fromJSON(t, w)["status"]; got != "ok" {
		t.Errorf("status %v", got)
	}
	ok = false
	wantStatus(t, ask{target: "/health"}.to(t, s), http.StatusServiceUnavailable)
	wantStatus(t, ask{target: "/health"}.to(t, newSite(t, setUp())), http.StatusServiceUnavailable)
}

func TestPrefetch(t *testing.T) {
	s := newSite(t, setUp(), func(o *Options) { o.PublicPrefetch = func() []string { return []string{"/assets/a.js"} } })
	if got := strings.TrimSpace(ask{target: "/_latch/prefetch.json"}.to(t, s).Body.String()); got != `["/assets/a.js"]` {
		t.Errorf("got %s", got)
	}
	if got := strings.TrimSpace(ask{target: "/_latch/prefetch.json"}.to(t, newSite(t, setUp())).Body.String()); got != `[]` {
		t.Errorf("got %s", got)
	}
}

func TestExtensionsGetOurs(t *testing.T) {
	s := newSite(t, setUp())
	ours := `"` + s.assets.module("comfylatch.js") + `"`
	for body, want := range map[string]string{
		`[]`:                           `[` + ours + `]`,
		" [ ] \n":                      `[` + ours + `]`,
		`["/extensions/a.js"]`:         `["/extensions/a.js", ` + ours + `]`,
		`["/a.js", "/b \u00e4.js"   ]`: `["/a.js", "/b \u00e4.js", ` + ours + `]`,
	} {
		got, err := s.Extensions([]byte(body))
		if err != nil || string(got) != want {
			t.Errorf("%s: %s, %v; want %s", body, got, err, want)
		}
	}
	for _, body := range []string{"", "{}", "null", `["a"`, "<html>", "[1,]"} {
		if got, err := s.Extensions([]byte(body)); err == nil {
			t.Errorf("%s: %s, want an error", body, got)
		}
	}
	if strings.Contains(ours, "extensions/core") {
		t.Error("the frontend skips addresses with extensions/core")
	}
}
