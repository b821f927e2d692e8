package web

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"comfylatch/internal/account"
	"comfylatch/internal/comfy"
	"comfylatch/internal/login"
)

// fakeLogin is a LoginService with one owner, one key, and an error to order.
type fakeLogin struct {
	status   login.Status
	password string
	code     string
	key      string
	err      error // what every proof fails with

	tries  int                 // proofs asked for
	ended  []account.Principal // LogOut
	client login.Client        // of the last proof
	name   string              // chosen at set-up
}

func (f *fakeLogin) Status() login.Status { return f.status }

func (f *fakeLogin) proof(c login.Client, ok bool, who account.Principal) (account.Secret, account.Principal, error) {
	f.tries++
	f.client = c
	switch {
	case f.err != nil:
		return account.Secret{}, account.Principal{}, f.err
	case !ok:
		return account.Secret{}, account.Principal{}, account.ErrBadCredentials
	}
	return account.NewSecret("session-of-" + who.Role.String()), who, nil
}

func (f *fakeLogin) LogIn(_ context.Context, name, password string, c login.Client) (account.Secret, account.Principal, error) {
	return f.proof(c, password == f.password && (name == "" || name == f.status.OwnerName), owner)
}

func (f *fakeLogin) SetUp(_ context.Context, name, password, code string, c login.Client) (account.Secret, account.Principal, error) {
	if !c.Local && code != f.code {
		return account.Secret{}, account.Principal{}, account.ErrSetUpCode
	}
	secret, who, err := f.proof(c, true, owner)
	if err == nil {
		f.name, f.password, f.status.SetUp = name, password, true
	}
	return secret, who, err
}

func (f *fakeLogin) Guest(_ context.Context, c login.Client) (account.Secret, account.Principal, error) {
	if !f.status.Guests {
		return account.Secret{}, account.Principal{}, account.ErrGuestsOff
	}
	return f.proof(c, true, guest)
}

func (f *fakeLogin) Token(_ context.Context, value string, c login.Client) (account.Principal, error) {
	_, who, err := f.proof(c, value == f.key, account.Principal{Role: account.Owner, Name: "API key", Method: account.ByKey})
	return who, err
}

func (f *fakeLogin) BrowserToken(context.Context, account.Principal, login.Client) (account.Secret, account.Token, error) {
	return account.NewSecret("browser-token"), account.Token{Kind: "browser"}, nil
}

func (f *fakeLogin) LogOut(_ context.Context, p account.Principal) error {
	f.ended = append(f.ended, p)
	return nil
}

var (
	owner = account.Principal{Role: account.Owner, UserID: account.OwnerID, Name: "Ada", Method: account.ByCookie, Ref: "ref-owner"}
	guest = account.Principal{Role: account.Guest, Method: account.ByCookie, Ref: "ref-guest"}
)

// setUp is a login that has a password, and everything else on.
func setUp() *fakeLogin {
	return &fakeLogin{
		status:   login.Status{SetUp: true, OwnerName: "Ada", Guests: true, HasKey: true},
		password: "correct horse",
		key:      "q+/7==key+with/odd=characters",
	}
}

func newSite(t testing.TB, login LoginService, change ...func(*Options)) *Site {
	t.Helper()
	o := Options{Login: login, Version: "test", Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	for _, f := range change {
		f(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ask is one request to the site.
type ask struct {
	method, target string
	body           string
	header         map[string]string
	who            account.Principal
	remote         bool // from another machine
	plain          bool // plain HTTP
	stale          bool
}

// to sends the request as the server would.
func (a ask) to(t testing.TB, s *Site) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	r, v := a.request(t)
	s.ServeHTTP(w, r, v)
	return w
}

func (a ask) request(t testing.TB) (*http.Request, Visit) {
	t.Helper()
	if a.method == "" {
		a.method = http.MethodGet
	}
	r := httptest.NewRequest(a.method, "http://gate.example/", strings.NewReader(a.body))
	if a.body == "" {
		r.Body = http.NoBody
	}
	r.RequestURI = a.target
	if a.method == http.MethodPost && a.body != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for k, v := range a.header {
		if v == "" {
			r.Header.Del(k)
			continue
		}
		r.Header.Set(k, v)
	}
	req, err := comfy.Parse(a.method, a.target)
	if err != nil {
		t.Fatalf("parse %s: %v", a.target, err)
	}
	return r, Visit{
		Who: a.who, Req: req, Peer: netip.MustParseAddr("192.0.2.7"), Host: "gate.example",
		Secure: !a.plain, Local: !a.remote, Stale: a.stale,
	}
}

var browser = map[string]string{"Accept": "text/html,application/xhtml+xml", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "same-origin"}

// sessionSet gives the session cookie that an answer sets, nil for none.
func sessionSet(w *httptest.ResponseRecorder) *http.Cookie {
	for _, c := range w.Result().Cookies() {
		if strings.HasSuffix(c.Name, "comfylatch") && c.MaxAge >= 0 && c.Value != "" {
			return c
		}
	}
	return nil
}

func wantStatus(t testing.TB, w *httptest.ResponseRecorder, status int) {
	t.Helper()
	if w.Code != status {
		t.Fatalf("status %d, want %d: %s", w.Code, status, w.Body)
	}
}

func wantText(t testing.TB, w *httptest.ResponseRecorder, text string) {
	t.Helper()
	if !strings.Contains(w.Body.String(), text) {
		t.Errorf("the answer does not say %q:\n%s", text, w.Body)
	}
}

func fromJSON(t testing.TB, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil {
		t.Fatalf("not JSON: %v: %s", err, w.Body)
	}
	return m
}

func newRecorder() *httptest.ResponseRecorder { return httptest.NewRecorder() }
