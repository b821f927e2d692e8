package web

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"comfylatch/internal/account"
)

// refused sends the request to one of the answers that say no.
func (a ask) refused(t testing.TB, say func(http.ResponseWriter, *http.Request, Visit)) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	r, v := a.request(t)
	say(w, r, v)
	return w
}

func TestStrangersAreSentToTheLogin(t *testing.T) {
	s := newSite(t, setUp())
	page := map[string]string{"Accept": "text/html,*/*;q=0.8"}
	for name, tc := range map[string]struct {
		ask    ask
		err    error
		status int
		to     string
	}{
		"a page":                    {ask{target: "/", header: page}, nil, 302, "/login?next=%2F"},
		"a page with a query":       {ask{target: "/view?filename=a.png&type=output", header: page}, nil, 302, "/login?next=%2Fview%3Ffilename%3Da.png%26type%3Doutput"},
		"a navigation":              {ask{target: "/a", header: map[string]string{"Sec-Fetch-Mode": "navigate"}}, nil, 302, "/login?next=%2Fa"},
		"the token stays away":      {ask{target: "/a?token=secret&b=c&api_key=secret", header: page}, nil, 302, "/login?next=%2Fa%3Fb%3Dc"},
		"an ended session":          {ask{target: "/", header: page}, account.ErrExpired, 302, "/login?next=%2F"},
		"before set-up":             {ask{target: "/", header: page}, account.ErrSetUpNeeded, 302, "/login?next=%2F"},
		"an API call":               {ask{target: "/prompt"}, nil, 401, ""},
		"an API call by POST":       {ask{method: "POST", target: "/prompt", body: "{}", header: page}, nil, 401, ""},
		"a fetch that takes HTML":   {ask{target: "/", header: map[string]string{"Accept": "text/html", "Sec-Fetch-Mode": "cors"}}, nil, 401, ""},
		"an XMLHttpRequest":         {ask{target: "/", header: map[string]string{"Accept": "text/html", "X-Requested-With": "XMLHttpRequest"}}, nil, 401, ""},
		"a wrong token":             {ask{target: "/prompt"}, account.ErrBadCredentials, 401, ""},
		"a wrong token in a page":   {ask{target: "/", header: page}, account.ErrBadCredentials, 401, ""},
		"too many wrong tokens":     {ask{target: "/prompt"}, &account.ThrottledError{Wait: 7 * time.Second}, 429, ""},
		"two different credentials": {ask{target: "/prompt"}, account.ErrAmbiguous, 400, ""},
		"the store fails":           {ask{target: "/", header: page}, errors.New("secret detail"), 503, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := tc.ask.refused(t, func(w http.ResponseWriter, r *http.Request, v Visit) { s.Unauthorized(w, r, v, tc.err) })
			wantStatus(t, w, tc.status)
			if got := w.Header().Get("Location"); got != tc.to {
				t.Errorf("goes to %q, want %q", got, tc.to)
			}
			if tc.status == 401 && w.Header().Get("WWW-Authenticate") != "Bearer" {
				t.Error("no WWW-Authenticate")
			}
			if tc.status == 401 && tc.ask.header["Accept"] != page["Accept"] && strings.TrimSpace(w.Body.String()) != `{"error":"Authentication required."}` {
				t.Errorf("body %s", w.Body)
			}
			if tc.status == 429 && w.Header().Get("Retry-After") != "7" {
				t.Errorf("Retry-After %q", w.Header().Get("Retry-After"))
			}
			if strings.Contains(w.Body.String(), "secret") {
				t.Errorf("tells the cause: %s", w.Body)
			}
		})
	}
}

func TestForbidden(t *testing.T) {
	s := newSite(t, setUp())
	const reason = "Guests <may> not change settings."
	say := func(w http.ResponseWriter, r *http.Request, v Visit) { s.Forbidden(w, r, v, reason) }
	for _, target := range []string{"/prompt", "/api/prompt"} {
		w := ask{method: "POST", target: target, body: "{}", who: guest}.refused(t, say)
		wantStatus(t, w, http.StatusForbidden)
		m := fromJSON(t, w)
		e, _ := m["error"].(map[string]any)
		if e["type"] != "forbidden" || e["details"] != reason || e["message"] == "" {
			t.Errorf("%s: %v", target, m)
		}
		if n, ok := m["node_errors"].(map[string]any); !ok || len(n) != 0 {
			t.Errorf("%s: node_errors %v", target, m["node_errors"])
		}
	}
	w := ask{method: "POST", target: "/settings/a", body: "1", who: guest}.refused(t, say)
	wantStatus(t, w, http.StatusForbidden)
	if got := fromJSON(t, w)["error"]; got != reason {
		t.Errorf("error %v", got)
	}
	w = ask{target: "/manager/db", who: guest, header: browser}.refused(t, say)
	wantStatus(t, w, http.StatusForbidden)
	wantText(t, w, "Guests &lt;may&gt; not change settings.")
	wantText(t, w, `href="/login?next=%2Fmanager%2Fdb"`)
}

func TestBadRequest(t *testing.T) {
	s := newSite(t, setUp())
	say := func(w http.ResponseWriter, r *http.Request, _ Visit) { s.BadRequest(w, r, "The path <is> odd.") }
	w := ask{target: "/a"}.refused(t, say)
	wantStatus(t, w, http.StatusBadRequest)
	if got := fromJSON(t, w)["error"]; got != "The path <is> odd." {
		t.Errorf("error %v", got)
	}
	w = ask{target: "/a", header: browser}.refused(t, say)
	wantStatus(t, w, http.StatusBadRequest)
	wantText(t, w, "The path &lt;is&gt; odd.")
}

func TestUnavailableComesBackByItself(t *testing.T) {
	s := newSite(t, setUp())
	for starting, want := range map[bool]struct {
		status int
		says   string
	}{true: {503, "ComfyUI is starting"}, false: {502, "ComfyUI does not answer"}} {
		say := func(w http.ResponseWriter, r *http.Request, _ Visit) { s.Unavailable(w, r, starting) }
		w := ask{target: "/", header: browser}.refused(t, say)
		wantStatus(t, w, want.status)
		wantText(t, w, want.says)
		wantText(t, w, "wait.js")
		wantText(t, w, `http-equiv="refresh"`)
		w = ask{method: "POST", target: "/prompt", body: "{}"}.refused(t, say)
		wantStatus(t, w, want.status)
		if got := fromJSON(t, w)["error"]; got != want.says+"." || w.Header().Get("Retry-After") == "" {
			t.Errorf("error %v", got)
		}
	}
}

func TestNotOurRoute(t *testing.T) {
	s := newSite(t, setUp())
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("GET", "/x", nil), Visit{})
	wantStatus(t, w, http.StatusNotFound)
	wantStatus(t, ask{target: "/prompt", who: owner}.to(t, s), http.StatusNotFound)
}
