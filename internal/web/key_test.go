package web

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"comfylatch/internal/account"
)

const oddKey = "q+/7==key+with/odd=characters"

func TestKeyIsExchangedForABrowserToken(t *testing.T) {
	login := setUp()
	s := newSite(t, login)
	w := ask{method: "POST", target: "/_latch/api/browser-token", body: `{"key":"` + oddKey + `","remember":true}`, who: guest,
		header: map[string]string{"Content-Type": "application/json"}}.to(t, s)
	wantStatus(t, w, http.StatusOK)
	if got := fromJSON(t, w)["token"]; got != "browser-token" {
		t.Errorf("token %v", got)
	}
	c := sessionSet(w)
	if c == nil || c.Value != "browser-token" || c.MaxAge <= 0 || !c.HttpOnly {
		t.Errorf("cookie %+v", c)
	}
	if len(login.ended) != 1 {
		t.Error("the session before goes on")
	}
	if strings.Contains(w.Body.String(), oddKey) {
		t.Error("the answer holds the key")
	}
	w = ask{method: "POST", target: "/_latch/api/browser-token", body: `{"key":"` + oddKey + `"}`}.to(t, s)
	if c := sessionSet(w); c == nil || c.MaxAge != 0 {
		t.Errorf("not to be remembered, but cookie %+v", c)
	}
}

func TestKeyThatIsRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		body   string
		err    error
		header map[string]string
		status int
		says   string
	}{
		"wrong":             {body: `{"key":"x"}`, status: 401, says: "Wrong API key."},
		"T31 empty":         {body: `{"key":""}`, status: 400, says: "enter your API key"},
		"missing":           {body: `{}`, status: 400, says: "enter your API key"},
		"not JSON":          {body: `key=x`, status: 400, says: "JSON"},
		"not UTF-8":         {body: "{\"key\":\"\xff\"}", status: 400, says: "JSON"},
		"a list":            {body: `[]`, status: 400, says: "JSON"},
		"too many tries":    {body: `{"key":"x"}`, err: &account.ThrottledError{Wait: time.Minute}, status: 429, says: "60 seconds"},
		"too long":          {body: `{"key":"` + strings.Repeat("x", 2000) + `"}`, status: 400, says: "not an API key"},
		"G3 body bomb":      {body: strings.Repeat("[", 100<<10), status: 413, says: "too much"},
		"from another site": {body: `{"key":"` + oddKey + `"}`, header: map[string]string{"Sec-Fetch-Site": "cross-site"}, status: 403, says: "another site"},
	} {
		t.Run(name, func(t *testing.T) {
			login := setUp()
			login.err = tc.err
			w := ask{method: "POST", target: "/_latch/api/browser-token", body: tc.body, header: tc.header}.to(t, newSite(t, login))
			wantStatus(t, w, tc.status)
			if got, _ := fromJSON(t, w)["error"].(string); !strings.Contains(got, tc.says) {
				t.Errorf("says %q, want %q", got, tc.says)
			}
			if sessionSet(w) != nil {
				t.Error("gave a session")
			}
		})
	}
}

func TestKeyPageWithoutJavaScript(t *testing.T) {
	s := newSite(t, setUp())
	for _, target := range []string{"/auth_login.html", "/login"} {
		w := ask{method: "POST", target: target, body: fields("api_key", oddKey, "next", "/a")}.to(t, s)
		wantStatus(t, w, http.StatusSeeOther)
		if c := sessionSet(w); c == nil || c.Value != "browser-token" || w.Header().Get("Location") != "/a" {
			t.Errorf("%s: cookie %v, to %s", target, c, w.Header().Get("Location"))
		}
	}
	w := ask{method: "POST", target: "/auth_login.html", body: fields("api_key", "x", "next", "/a")}.to(t, s)
	wantStatus(t, w, http.StatusUnauthorized)
	wantText(t, w, "Wrong API key.")
	wantText(t, w, `name="next" value="/a"`)
	wantStatus(t, ask{method: "POST", target: "/auth_login.html", body: fields("next", "/a")}.to(t, s), http.StatusBadRequest)
	wantStatus(t, ask{method: "PUT", target: "/auth_login.html"}.to(t, s), http.StatusMethodNotAllowed)
}

func TestKeyPageLogsOut(t *testing.T) {
	login := setUp()
	s := newSite(t, login)
	w := ask{target: "/auth_login.html?logout=true", who: owner, header: browser}.to(t, s)
	wantText(t, w, "data-logout")
	// A link on another site only asks.
	w = ask{target: "/auth_login.html?logout=true", who: owner, header: map[string]string{"Sec-Fetch-Site": "cross-site"}}.to(t, s)
	if strings.Contains(w.Body.String(), "data-logout") {
		t.Error("another site's link logs out")
	}
	wantText(t, w, `action="/logout"`)
	if len(login.ended) != 0 {
		t.Error("a GET ended the session")
	}
}

func TestLogout(t *testing.T) {
	t.Run("POST ends the session", func(t *testing.T) {
		login := setUp()
		w := ask{method: "POST", target: "/logout", who: owner}.to(t, newSite(t, login))
		wantStatus(t, w, http.StatusSeeOther)
		if len(login.ended) != 1 || login.ended[0].Ref != "ref-owner" {
			t.Errorf("ended %v", login.ended)
		}
		if c := w.Result().Cookies(); len(c) != 1 || c[0].MaxAge >= 0 || c[0].Name != "__Host-comfylatch" {
			t.Errorf("cookies %v", c)
		}
		if got := w.Header().Get("Clear-Site-Data"); got != `"storage"` {
			t.Errorf("Clear-Site-Data %q", got)
		}
	})
	t.Run("T37 log-out by image", func(t *testing.T) {
		login := setUp()
		w := ask{target: "/logout", who: owner, header: map[string]string{"Accept": "image/*", "Sec-Fetch-Dest": "image"}}.to(t, newSite(t, login))
		wantStatus(t, w, http.StatusOK)
		if len(login.ended) != 0 || len(w.Result().Cookies()) != 0 {
			t.Error("an image logged somebody out")
		}
		wantText(t, w, `<form method="post" action="/logout"`)
	})
	t.Run("from another site", func(t *testing.T) {
		login := setUp()
		w := ask{method: "POST", target: "/logout", who: owner, header: map[string]string{"Sec-Fetch-Site": "cross-site"}}.to(t, newSite(t, login))
		wantStatus(t, w, http.StatusForbidden)
		if len(login.ended) != 0 {
			t.Error("another site logged somebody out")
		}
	})
	t.Run("nobody", func(t *testing.T) {
		login := setUp()
		wantStatus(t, ask{target: "/logout"}.to(t, newSite(t, login)), http.StatusFound)
		wantStatus(t, ask{method: "POST", target: "/logout"}.to(t, newSite(t, login)), http.StatusSeeOther)
		if len(login.ended) != 0 {
			t.Error("ended nobody's session")
		}
	})
	t.Run("D4 other methods", func(t *testing.T) {
		login := setUp()
		wantStatus(t, ask{method: "DELETE", target: "/logout", who: owner}.to(t, newSite(t, login)), http.StatusMethodNotAllowed)
	})
}
