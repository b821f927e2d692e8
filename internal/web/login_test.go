package web

import (
	"bytes"
	"errors"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"comfylatch/internal/account"
)

func fields(pairs ...string) string {
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	return q.Encode()
}

func TestLoginGivesASessionAndGoesOn(t *testing.T) {
	for name, tc := range map[string]struct{ body, to string }{
		"to the front page":      {fields("username", "Ada", "password", "correct horse"), "/"},
		"the owner without name": {fields("password", "correct horse"), "/"},
		"to where one was":       {fields("password", "correct horse", "next", "/view?filename=a.png"), "/view?filename=a.png"},
		"C5 not to another site": {fields("password", "correct horse", "next", `/\evil.example`), "/"},
		"empty guest field":      {fields("password", "correct horse", "guest_mode", ""), "/"}, // ComfyUI-Login's form sends it
	} {
		t.Run(name, func(t *testing.T) {
			login := setUp()
			w := ask{method: "POST", target: "/login", body: tc.body}.to(t, newSite(t, login))
			wantStatus(t, w, http.StatusSeeOther)
			if got := w.Header().Get("Location"); got != tc.to {
				t.Errorf("goes to %q, want %q", got, tc.to)
			}
			if c := sessionSet(w); c == nil || c.Value != "session-of-owner" {
				t.Errorf("session cookie: %v", c)
			}
			if got := login.client; got.Address.String() != "192.0.2.7" || !got.Local {
				t.Errorf("told the login room %+v", got)
			}
		})
	}
}

func TestSessionCookieFlags(t *testing.T) {
	body := fields("password", "correct horse")
	c := sessionSet(ask{method: "POST", target: "/login", body: body}.to(t, newSite(t, setUp())))
	if c.Name != "__Host-comfylatch" || !c.HttpOnly || !c.Secure || c.Path != "/" || c.Domain != "" || c.SameSite != http.SameSiteLaxMode || c.MaxAge <= 0 {
		t.Errorf("on HTTPS: %+v", c)
	}
	c = sessionSet(ask{method: "POST", target: "/login", body: body, plain: true}.to(t, newSite(t, setUp())))
	if c.Name != "comfylatch" || !c.HttpOnly || c.Secure {
		t.Errorf("on plain HTTP: %+v", c)
	}
}

func TestLoginEndsTheSessionBefore(t *testing.T) {
	login := setUp()
	w := ask{method: "POST", target: "/login", body: fields("password", "correct horse"), who: guest}.to(t, newSite(t, login))
	wantStatus(t, w, http.StatusSeeOther)
	if len(login.ended) != 1 || login.ended[0].Ref != "ref-guest" {
		t.Errorf("ended %v, want the guest's session", login.ended)
	}
	login = setUp()
	wantStatus(t, ask{method: "POST", target: "/login", body: fields("password", "wrong"), who: guest}.to(t, newSite(t, login)), http.StatusUnauthorized)
	if len(login.ended) != 0 {
		t.Error("a failed log-in ended the session")
	}
}

func TestRefusedLoginShowsTheFormWithTheReason(t *testing.T) {
	right := fields("username", "Ada", "password", "correct horse")
	for name, tc := range map[string]struct {
		err    error
		body   string
		header map[string]string
		status int
		says   string
		tries  int
	}{
		"wrong password":           {body: fields("username", "Ada", "password", "x"), status: 401, says: "Wrong name or password.", tries: 1},
		"wrong key":                {body: fields("api_key", "x"), status: 401, says: "Wrong API key.", tries: 1},
		"too many tries":           {err: &account.ThrottledError{Wait: 29500 * time.Millisecond}, body: right, status: 429, says: "30 seconds", tries: 1},
		"disabled":                 {err: account.ErrDisabled, body: right, status: 403, says: "cannot be used", tries: 1},
		"the store fails":          {err: errors.New("disk: secret detail"), body: right, status: 503, says: "try again", tries: 1},
		"T36 no fields":            {body: "x=y", status: 400, says: "Please enter your password."},
		"T36 empty password":       {body: fields("username", "Ada", "password", ""), status: 400, says: "Please enter your password."},
		"T36 5,000 bytes":          {body: fields("password", strings.Repeat("x", 5000)), status: 400, says: "at most 1000 bytes"},
		"T36 1,001 bytes":          {body: fields("password", strings.Repeat("x", 1001)), status: 400, says: "at most 1000 bytes"},
		"T36 73 bytes are allowed": {body: fields("password", strings.Repeat("x", 73)), status: 401, says: "Wrong password.", tries: 1},
		"T36 invalid UTF-8":        {body: "password=%ff%fe", status: 400, says: "not valid UTF-8"},
		"T36 invalid name":         {body: "password=x&username=%c3%28", status: 400, says: "not valid UTF-8"},
		"T36 name too long":        {body: fields("username", strings.Repeat("x", 2000), "password", "x"), status: 400, says: "too long"},
		"malformed":                {body: "password=%zz", status: 400, says: "malformed"},
		"twice":                    {body: "password=correct+horse&password=b", status: 400, says: "twice"},
		"G3 body bomb":             {body: fields("password", strings.Repeat("x", 100<<10)), status: 413, says: "too much"},
		"G3 compressed bomb":       {body: right, header: map[string]string{"Content-Encoding": "gzip"}, status: 415, says: "uncompressed"},
		"JSON":                     {body: `{"password":"correct horse"}`, header: map[string]string{"Content-Type": "application/json"}, status: 415, says: "HTML form"},
		"no content type":          {body: right, header: map[string]string{"Content-Type": ""}, status: 415, says: "HTML form"},
		"odd content type":         {body: right, header: map[string]string{"Content-Type": ";;"}, status: 415, says: "HTML form"},
		"from another site":        {body: right, header: map[string]string{"Sec-Fetch-Site": "cross-site"}, status: 403, says: "another site"},
		"from another origin":      {body: right, header: map[string]string{"Origin": "https://evil.example"}, status: 403, says: "another site"},
		"from nowhere":             {body: right, header: map[string]string{"Origin": "null"}, status: 403, says: "another site"},
		"C10 name with HTML":       {body: fields("username", `"><script>alert(1)</script>`, "password", "x"), status: 401, says: "&lt;script&gt;", tries: 1},
		"C10 next with HTML":       {body: fields("next", `/home'"><img src=x>`, "password", "x"), status: 401, says: "Wrong password.", tries: 1},
		"guest mode off":           {body: fields("guest_mode", "1"), status: 403, says: "Guest mode is off."},
	} {
		t.Run(name, func(t *testing.T) {
			login := setUp()
			login.err, login.status.Guests = tc.err, false
			w := ask{method: "POST", target: "/login", body: tc.body, header: tc.header}.to(t, newSite(t, login))
			wantStatus(t, w, tc.status)
			wantText(t, w, tc.says)
			wantText(t, w, `<form method="post" action="/login"`)
			if c := sessionSet(w); c != nil {
				t.Errorf("gave a session: %v", c)
			}
			if login.tries != tc.tries {
				t.Errorf("asked the login room %d times, want %d", login.tries, tc.tries)
			}
			for _, never := range []string{"<script>alert", "<img src=x", "secret detail"} {
				if strings.Contains(w.Body.String(), never) {
					t.Errorf("the page holds %q", never)
				}
			}
			if wait := w.Header().Get("Retry-After"); (wait == "30") != (tc.status == 429) {
				t.Errorf("Retry-After: %q", wait)
			}
		})
	}
}

func TestLoginTakesMultipartForms(t *testing.T) {
	var body bytes.Buffer
	m := multipart.NewWriter(&body)
	m.WriteField("username", "Ada")
	m.WriteField("password", "correct horse")
	m.Close()
	a := ask{method: "POST", target: "/login", body: body.String(), header: map[string]string{"Content-Type": m.FormDataContentType()}}
	wantStatus(t, a.to(t, newSite(t, setUp())), http.StatusSeeOther)
	a.header["Content-Type"] = "multipart/form-data"
	wantStatus(t, a.to(t, newSite(t, setUp())), http.StatusBadRequest)
	a.header["Content-Type"], a.body = m.FormDataContentType(), body.String()+strings.Repeat("x", 100<<10)
	wantStatus(t, a.to(t, newSite(t, setUp())), http.StatusRequestEntityTooLarge)
}

func TestLoginTakesOtherMethodsForNothing(t *testing.T) {
	for _, method := range []string{"PUT", "PATCH", "DELETE", "OPTIONS"} {
		t.Run("D4 "+method, func(t *testing.T) {
			login := setUp()
			w := ask{method: method, target: "/login", body: fields("password", "correct horse"),
				header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}}.to(t, newSite(t, login))
			wantStatus(t, w, http.StatusMethodNotAllowed)
			if w.Header().Get("Allow") != "GET, HEAD, POST" || login.tries != 0 || sessionSet(w) != nil {
				t.Errorf("Allow %q, tries %d", w.Header().Get("Allow"), login.tries)
			}
		})
	}
	t.Run("D4 method override", func(t *testing.T) {
		login := setUp()
		w := ask{target: "/login", header: map[string]string{"X-HTTP-Method-Override": "POST"}}.to(t, newSite(t, login))
		wantStatus(t, w, http.StatusOK)
		if login.tries != 0 {
			t.Error("a GET was a try")
		}
	})
}

func TestGuestButton(t *testing.T) {
	s := newSite(t, setUp())
	wantText(t, ask{target: "/login"}.to(t, s), `name="guest_mode" value="1"`)
	w := ask{method: "POST", target: "/login", body: fields("guest_mode", "1", "next", "/?a=b")}.to(t, s)
	wantStatus(t, w, http.StatusSeeOther)
	if c := sessionSet(w); c == nil || c.Value != "session-of-guest" || w.Header().Get("Location") != "/?a=b" {
		t.Errorf("cookie %v, to %q", c, w.Header().Get("Location"))
	}
	off := setUp()
	off.status.Guests = false
	if w := (ask{target: "/login"}).to(t, newSite(t, off)); strings.Contains(w.Body.String(), "guest_mode") {
		t.Error("the button is there although guest mode is off")
	}
}

func TestLoginPageKnowsItsVisitor(t *testing.T) {
	s := newSite(t, setUp())
	for name, tc := range map[string]struct {
		ask    ask
		status int
		says   string
	}{
		"a stranger":              {ask{target: "/login?next=/a"}, 200, `name="next" value="/a"`},
		"the owner's name":        {ask{target: "/login"}, 200, `value="Ada"`},
		"a password manager":      {ask{target: "/login"}, 200, `autocomplete="current-password"`},
		"a good session goes on":  {ask{target: "/login?next=/a", who: owner}, 302, ""},
		"a guest may log in":      {ask{target: "/login", who: guest}, 200, "Password"},
		"a token is not kept":     {ask{target: "/login", who: account.Principal{Role: account.Owner, Method: account.ByToken}}, 200, "Password"},
		"auth off":                {ask{target: "/login", who: account.Principal{Role: account.Owner}}, 302, ""},
		"an ended session":        {ask{target: "/login", stale: true}, 200, "Your session has ended"},
		"after logging out":       {ask{target: "/login?logged_out=1"}, 200, "data-forget"},
		"C10 next is escaped":     {ask{target: "/login?next=/home'%22%3E%3Cimg%3E"}, 200, `value="/home&#39;&#34;&gt;&lt;img&gt;"`},
		"C5 next to another site": {ask{target: "/login?next=//evil.example"}, 200, `name="next" value="/"`},
	} {
		t.Run(name, func(t *testing.T) {
			w := tc.ask.to(t, s)
			wantStatus(t, w, tc.status)
			wantText(t, w, tc.says)
		})
	}
	if w := (ask{target: "/login?logged_out=1", who: guest}).to(t, s); strings.Contains(w.Body.String(), "data-forget") {
		t.Error("a link from elsewhere makes a guest's browser forget its work")
	}
}

func TestFirstTimeSetUp(t *testing.T) {
	fresh := func() *fakeLogin { return &fakeLogin{code: "K7PQ-2M4X"} }
	t.Run("the form asks for a new password", func(t *testing.T) {
		w := ask{target: "/login"}.to(t, newSite(t, fresh()))
		wantText(t, w, `autocomplete="new-password"`)
		if strings.Contains(w.Body.String(), `name="code"`) {
			t.Error("asks for a code on the gate's own machine")
		}
		wantText(t, ask{target: "/login", remote: true}.to(t, newSite(t, fresh())), `name="code"`)
	})
	for name, tc := range map[string]struct {
		body   string
		remote bool
		status int
		says   string
	}{
		"on the gate's own machine":        {body: fields("username", "Ada", "password", "x"), status: 303},
		"from another machine by the code": {body: fields("username", "Ada", "password", "x", "code", " K7PQ-2M4X "), remote: true, status: 303},
		"T32 without the code":             {body: fields("username", "Ada", "password", "x"), remote: true, status: 403, says: "one-time code"},
		"T32 with a wrong code":            {body: fields("username", "Ada", "password", "x", "code", "AAAA-AAAA"), remote: true, status: 403, says: "one-time code"},
		"without a name":                   {body: fields("password", "x"), status: 400, says: "Please enter a name."},
		"a name that cannot be shown":      {body: fields("username", "Ada\u202e", "password", "x"), status: 400, says: "cannot be shown"},
		"a password too long":              {body: fields("username", "Ada", "password", strings.Repeat("x", 1001)), status: 400, says: "at most 1000 bytes"},
		"without a password":               {body: fields("username", "Ada"), status: 400, says: "password"},
	} {
		t.Run(name, func(t *testing.T) {
			login := fresh()
			w := ask{method: "POST", target: "/login", body: tc.body, remote: tc.remote}.to(t, newSite(t, login))
			wantStatus(t, w, tc.status)
			wantText(t, w, tc.says)
			if stored := login.password != ""; stored != (tc.status == 303) || (sessionSet(w) != nil) != stored {
				t.Errorf("stored %v, cookie %v", stored, sessionSet(w))
			}
		})
	}
}

func TestC1RedirectsNameNoHost(t *testing.T) {
	s := newSite(t, setUp())
	for name, a := range map[string]ask{
		"after logging in":  {method: "POST", target: "/login", body: fields("password", "correct horse")},
		"after logging out": {method: "POST", target: "/logout", who: owner},
		"already logged in": {target: "/login", who: owner},
		"by key":            {method: "POST", target: "/auth_login.html", body: fields("api_key", "q+/7==key+with/odd=characters")},
	} {
		t.Run(name, func(t *testing.T) {
			r, v := a.request(t)
			r.Host, v.Host = "evil.example", "evil.example"
			r.Header.Set("X-Forwarded-Host", "evil.example")
			w := newRecorder()
			s.ServeHTTP(w, r, v)
			if to := w.Header().Get("Location"); !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.Contains(to, "evil") {
				t.Errorf("goes to %q", to)
			}
			if strings.Contains(w.Body.String(), "evil.example") {
				t.Error("the page repeats the Host")
			}
		})
	}
}

func TestPagesAreStrict(t *testing.T) {
	s := newSite(t, setUp())
	for _, a := range []ask{{target: "/login"}, {target: "/auth_login.html"}, {target: "/logout", who: owner}, {target: "/_latch/nothing", who: owner, header: browser}} {
		t.Run(a.target, func(t *testing.T) {
			w := a.to(t, s)
			for k, want := range map[string]string{
				"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin",
				"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": ourPolicy,
			} {
				if got := w.Header().Get(k); got != want {
					t.Errorf("%s: %q, want %q", k, got, want)
				}
			}
			for _, never := range []string{"<style", "style=", "onclick", "<script>", "http://", "https://"} {
				if strings.Contains(w.Body.String(), never) {
					t.Errorf("the page holds %q", never)
				}
			}
		})
	}
}

func FuzzLoginForm(f *testing.F) {
	f.Add("application/x-www-form-urlencoded", "username=a&password=b&next=%2Fx")
	f.Add("application/x-www-form-urlencoded", "guest_mode=1")
	f.Add("multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\ny\r\n--x--\r\n")
	f.Add("application/x-www-form-urlencoded", "api_key=%FF&;;=")
	s := newSite(f, setUp())
	f.Fuzz(func(t *testing.T, kind, body string) {
		w := ask{method: "POST", target: "/login", body: body + " ", header: map[string]string{"Content-Type": kind}}.to(t, s)
		if w.Code >= 500 || w.Code < 300 {
			t.Fatalf("status %d for %q", w.Code, body)
		}
		if to := w.Header().Get("Location"); w.Code == 303 && to != SafeNext(to) {
			t.Fatalf("goes to %q", to)
		}
		if (sessionSet(w) != nil) != (w.Code == 303) {
			t.Fatal(fmt.Sprint("status ", w.Code, " with cookie ", sessionSet(w)))
		}
	})
}
