package server

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"comfylatch/internal/account"
	"comfylatch/internal/audit"
	"comfylatch/internal/login"
	"comfylatch/internal/people"
	"comfylatch/internal/web"
)

// somebody is a person who is logged in.
type somebody struct {
	who    account.Principal
	cookie string
}

const goodPassword = "correct horse battery"

func (h *house) person(name string, role account.Role) somebody {
	h.t.Helper()
	p := must[account.Person](h.t)(h.people.Add(h.t.Context(), people.Command(), name, role, goodPassword))
	secret, who, err := h.login.LogIn(h.t.Context(), p.Name, goodPassword, login.Client{Address: netip.MustParseAddr("192.0.2.7")})
	if err != nil {
		h.t.Fatal(err)
	}
	return somebody{who, web.CookieName(false) + "=" + secret.Reveal()}
}

func (h *house) api(s somebody, method, path, body string) answer {
	h.t.Helper()
	return h.do(method, "/_latch/api/"+path, body, "Cookie: "+s.cookie, "Origin: "+h.url)
}

// form sends a form as a page of ours would.
func (h *house) form(cookie, path string, fields url.Values) answer {
	h.t.Helper()
	return h.do("POST", path, fields.Encode(), "Cookie: "+cookie, "Origin: "+h.url, "Accept: text/html", "Content-Type: application/x-www-form-urlencoded")
}

func TestTheLogIsDownloadedWhole(t *testing.T) {
	h := newHouse(t, nil)
	owner := h.setUp()
	events := make([]audit.Event, 25_000)
	for i := range events {
		events[i] = audit.Event{Time: time.Now(), Kind: audit.Refusal, Name: "=1+1", Detail: fmt.Sprint(i)}
	}
	if err := h.db.AppendEvents(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	got := h.get("/_latch/api/events?format=csv&kind="+string(audit.Refusal), "Cookie: "+owner)
	h.wantStatus(got, 200)
	rows, err := csv.NewReader(strings.NewReader(got.body)).ReadAll()
	if err != nil || len(rows) != len(events)+1 {
		t.Fatalf("%d rows, %v; want %d and the heads", len(rows), err, len(events))
	}
	for i, row := range rows[1:] {
		if want := fmt.Sprint(len(events) - 1 - i); row[6] != want || row[4] != "'=1+1" {
			t.Fatalf("row %d is %q, want detail %s", i, row, want)
		}
	}
	if part := h.get("/_latch/api/events?format=csv&limit=10&kind="+string(audit.Refusal), "Cookie: "+owner); strings.Count(part.body, "\n") != 11 || part.header.Get("Link") == "" {
		t.Errorf("ten of them: %d lines, Link %q", strings.Count(part.body, "\n"), part.header.Get("Link"))
	}
}

// C16: one user can neither see, end nor guess what is another's.
func TestAnothersSessionTokenAndLinkAreNotThere(t *testing.T) {
	h := newHouse(t, nil)
	h.setUp()
	bo, cy := h.person("Bo", account.User), h.person("Cy", account.User)
	secret, token, err := h.people.MakeToken(t.Context(), cy.who, login.NewToken{Name: "script", Role: account.User})
	if err != nil {
		t.Fatal(err)
	}
	_, link, err := h.people.MakeLink(t.Context(), cy.who, people.NewLink{Kind: account.Pairing})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"sessions/" + cy.who.Ref, "tokens/" + token.ID, "sessions/" + strings.Repeat("0", 64), "tokens/none"} {
		h.wantStatus(h.api(bo, "DELETE", path, ""), 404)
	}
	h.wantStatus(h.form(bo.cookie, "/_latch/do/end-session", url.Values{"id": {cy.who.Ref}}), 404)
	h.wantStatus(h.form(bo.cookie, "/_latch/do/revoke-token", url.Values{"id": {token.ID}}), 404)
	for _, path := range []string{"people", "people/" + cy.who.UserID, "links", "events", "now", "sessions?all=1", "tokens?all=1"} {
		h.wantStatus(h.api(bo, "GET", path, ""), 403)
	}
	for path, body := range map[string]string{"people": `{"name":"X","password":"` + goodPassword + `"}`, "links": `{"kind":"reset","user":"` + cy.who.UserID + `"}`, "free": ""} {
		h.wantStatus(h.api(bo, "POST", path, body), 403)
	}
	h.wantStatus(h.api(bo, "DELETE", "links/"+link.ID, ""), 403)
	h.wantStatus(h.api(bo, "PATCH", "people/"+bo.who.UserID, `{"role":"admin"}`), 403)
	for _, list := range []string{"sessions", "tokens"} {
		if got := h.api(bo, "GET", list, ""); got.status != 200 || strings.Contains(got.body, cy.who.Ref) || strings.Contains(got.body, token.ID) {
			t.Errorf("Bo's %s: %d %s", list, got.status, got.body)
		}
	}
	for _, page := range []string{"admin", "admin/people", "admin/links", "admin/sessions", "admin/tokens", "admin/log"} {
		h.wantStatus(h.get("/_latch/"+page, "Cookie: "+bo.cookie, "Accept: text/html"), 403)
	}
	h.wantStatus(h.get("/queue", "Cookie: "+cy.cookie), 200)
	h.wantStatus(h.get("/queue", "Authorization: Bearer "+secret.Reveal()), 200)
	h.wantStatus(h.api(cy, "DELETE", "tokens/"+token.ID, ""), 204)
	h.wantStatus(h.get("/queue", "Authorization: Bearer "+secret.Reveal()), 401)
}

// D8, D13: neither a stolen cookie nor a token with few rights makes more of itself.
func TestRightsAreGivenOnlyWithAFreshProof(t *testing.T) {
	h := newHouse(t, nil)
	h.setUp()
	admin := h.person("Grace", account.Admin)
	make := `{"name":"x","role":"run"}`
	if err := h.db.ProveSession(t.Context(), admin.who.Ref, time.Now().Add(-11*time.Minute)); err != nil {
		t.Fatal(err)
	}
	for path, body := range map[string]string{"tokens": make, "links": `{"kind":"invitation"}`, "people": `{"name":"X","password":"` + goodPassword + `"}`, "phone": ""} {
		h.wantStatus(h.api(admin, "POST", path, body), 403)
	}
	page := h.form(admin.cookie, "/_latch/do/make-token", url.Values{"name": {`"><b>`}, "role": {"run"}})
	if page.status != 200 || !strings.Contains(page.body, `name="proof"`) || strings.Contains(page.body, `"><b>`) {
		t.Errorf("the password is not asked for: %d %s", page.status, page.body)
	}
	h.wantStatus(h.form(admin.cookie, "/_latch/do/make-token", url.Values{"name": {"x"}, "role": {"run"}, "proof": {"wrong"}}), 403)
	page = h.form(admin.cookie, "/_latch/do/make-token", url.Values{"name": {"x"}, "role": {"run"}, "proof": {goodPassword}})
	if page.status != 200 || !strings.Contains(page.body, "cl_") {
		t.Errorf("no token after the password: %d %s", page.status, page.body)
	}
	got := h.api(admin, "POST", "tokens", `{"name":"y","role":"user"}`)
	h.wantStatus(got, 200)
	var made struct{ Value string }
	if json.Unmarshal([]byte(got.body), &made) != nil || made.Value == "" {
		t.Fatal(got.body)
	}
	token := "Authorization: Bearer " + made.Value
	h.wantStatus(h.get("/_latch/api/me", token), 200)
	for _, path := range []string{"sessions", "tokens", "people", "now"} {
		h.wantStatus(h.get("/_latch/api/"+path, token), 403)
	}
	h.wantStatus(h.do("POST", "/_latch/api/tokens", make, token), 403)
	h.wantStatus(h.do("POST", "/_latch/api/password", `{"old":"`+goodPassword+`","password":"another long one"}`, token), 403)

	// From another site, and malformed.
	h.wantStatus(h.do("POST", "/_latch/api/tokens", make, "Cookie: "+admin.cookie, "Origin: http://evil.example"), 403)
	h.wantStatus(h.do("POST", "/_latch/do/end-others", "", "Cookie: "+admin.cookie, "Sec-Fetch-Site: cross-site", "Content-Type: application/x-www-form-urlencoded"), 403)
	for _, body := range []string{`{"name":1}`, `{"nmae":"x"}`, `[`, `{} {}`, "{\"name\":\"\xff\"}", `{"name":"z","role":"king"}`, `{"name":"z","expires":"soon"}`, `{"name":""}`} {
		h.wantStatus(h.api(admin, "POST", "tokens", body), 400)
	}
	h.wantStatus(h.api(admin, "PUT", "tokens", ""), 405)
	h.wantStatus(h.api(admin, "GET", "nothing", ""), 404)
	h.wantStatus(h.api(admin, "GET", "sessions?after=nonsense&limit=-1&all=1", ""), 200)
	h.wantStatus(h.api(admin, "GET", "events?before=x&limit=x&who=%FF", ""), 400)
}

// A link is looked at without being used up, and used once.
func TestALinkOpensAPageAndThenTheDoor(t *testing.T) {
	h := newHouse(t, nil)
	h.setUp()
	owner := people.Command()
	code, _, err := h.people.MakeLink(t.Context(), owner, people.NewLink{Kind: account.Invitation, Role: account.User})
	if err != nil {
		t.Fatal(err)
	}
	at := "/_latch/join?code=" + code.Reveal()
	for range 2 {
		got := h.get(at, "Accept: text/html")
		if got.status != 200 || !strings.Contains(got.body, `name="password"`) || got.header.Get("Referrer-Policy") == "" {
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
	join := func(name string) answer {
		return h.form("", "/_latch/join", url.Values{"code": {code.Reveal()}, "username": {name}, "password": {goodPassword}})
	}
	if got := join("<b>x</b>"); got.status != 400 || strings.Contains(got.body, "<b>x") || !strings.Contains(got.body, "may not hold") {
		t.Errorf("%d %s", got.status, got.body)
	}
	got := join("Bo")
	if got.status != 303 || got.header.Get("Location") != "/" {
		t.Fatalf("%d %s", got.status, got.body)
	}
	cookie, _, _ := strings.Cut(got.header.Get("Set-Cookie"), ";")
	h.wantStatus(h.get("/_latch/account", "Cookie: "+cookie, "Accept: text/html"), 200)
	h.wantStatus(h.get(at, "Accept: text/html"), 410)
	h.wantStatus(join("Cy"), 410)
	if strings.Contains(h.log.String(), code.Reveal()) {
		t.Error("the code is in the log")
	}
}

// A guest link's runs are counted where prompts are queued.
func TestAGuestLinkHasSoManyRuns(t *testing.T) {
	h := newHouse(t, nil)
	h.setUp()
	code, _, err := h.people.MakeLink(t.Context(), people.Command(), people.NewLink{Kind: account.GuestLink, Runs: 1})
	if err != nil {
		t.Fatal(err)
	}
	got := h.form("", "/_latch/join", url.Values{"code": {code.Reveal()}})
	h.wantStatus(got, 303)
	cookie, _, _ := strings.Cut(got.header.Get("Set-Cookie"), ";")
	run := func(width string) int {
		body := `{"prompt":{"1":{"class_type":"EmptyImage","inputs":{"width":` + width + `,"height":64,"batch_size":1,"color":0}},"2":{"class_type":"SaveImage","inputs":{"images":["1",0],"filename_prefix":"x"}}}}`
		return h.do("POST", "/prompt", body, "Cookie: "+cookie, "Origin: "+h.url).status
	}
	if status := run(`"wide"`); status != 400 {
		t.Errorf("a prompt that ComfyUI does not take: %d", status)
	}
	for i, want := range []int{200, 403, 403} {
		if status := run("64"); status != want {
			t.Errorf("run %d: %d, want %d", i+1, status, want)
		}
	}
	h.wantStatus(h.get("/_latch/account", "Cookie: "+cookie, "Accept: text/html"), 403)
}
