package browsertest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"comfylatch/internal/standin"
)

const userPassword = "tr0ubled but four words"

// sure answers the page that asks for the password again, where it appears.
func (p *tab) sure(then string) {
	p.t.Helper()
	p.wait("the password to be asked for, or the next page", "document.getElementById('proof') || "+then)
	if eval[bool](p, "!!document.getElementById('proof')") {
		p.typeInto("#proof", ownerPassword+"\r")
	}
	p.wait("the next page", then)
}

const atMade = "document.getElementById('value')"

// invite makes an invitation as the owner and gives its address.
func (p *tab) invite(g *gate, note string) string {
	p.t.Helper()
	p.open(g.url + "/_latch/admin/people")
	p.typeInto("#note", note)
	p.run("document.getElementById('note').form.requestSubmit()")
	p.sure(atMade)
	return eval[string](p, "document.getElementById('value').value")
}

// The owner invites; the user joins, generates, makes a token and uses it; the
// owner ends the session and disables the user: all is dead within a second.
func TestInvitedUserWorksUntilDisabled(t *testing.T) {
	forEachComfyUI(t, func(t *testing.T, c *comfyUI) {
		g := startGate(t, c)
		owner := enter(t, c, g)
		if !eval[bool](owner, "app.extensionManager.command.commands.some((c) => c.id === 'comfylatch.Admin')") {
			t.Error("the owner's menu lacks the administration")
		}
		address := owner.invite(g, "for Bo")
		if !strings.HasPrefix(address, g.url+"/_latch/join?code=") || !eval[bool](owner, "!!document.querySelector('svg.qr path')") {
			t.Fatalf("the invitation is at %q", address)
		}

		user := openTab(t, desktop)
		user.open(address)
		user.typeInto("#username", "Bo")
		user.typeInto("#password", userPassword+"\r")
		user.graph(c)
		user.queue(quick(0x112233))
		user.result()
		wantAccountMenu(user, "Bo (user)", "Your account", "Log out")

		user.open(g.url + "/_latch/account")
		user.typeInto("#token-name", "script")
		user.run("document.getElementById('token-name').form.requestSubmit()")
		user.wait("the token", atMade)
		token := eval[string](user, "document.getElementById('value').value")
		if got := g.curl(token, "/queue"); got != "200" {
			t.Fatalf("curl with the token: %s", got)
		}
		socket := g.tokenSocket(token)
		user.open(g.url + "/")
		user.graph(c)

		wantDisabledAtOnce(t, c, g, owner, user, token, socket)
	})
}

// wantDisabledAtOnce ends Bo's session and then the account, by the owner's hand.
func wantDisabledAtOnce(t *testing.T, c *comfyUI, g *gate, owner, user *tab, token string, socket *websocket.Conn) {
	t.Helper()
	cookie := user.cookie(g.url)
	owner.open(g.url + "/_latch/admin/sessions")
	owner.run("[...document.querySelectorAll('.rows li')].find((e) => e.querySelector('b').textContent === 'Bo').querySelector('button').click()")
	owner.wait("the session's end", says("The session has ended."))
	if got := g.status("/api/queue", cookie); got != http.StatusUnauthorized {
		t.Errorf("the ended session: %d", got)
	}
	user.wait("the login page, by itself", atLogin)
	user.run("document.getElementById('username').value = 'Bo'")
	user.typeInto("#password", userPassword+"\r")
	user.graph(c)
	cookie = user.cookie(g.url)

	owner.open(g.url + "/_latch/admin/people")
	owner.run("[...document.querySelectorAll('.rows li')].find((e) => e.querySelector('b').textContent === 'Bo').querySelector('input[name=disabled]').form.requestSubmit()")
	owner.sure(says("The account is changed."))
	done := time.Now()
	wantClosedSince(t, socket, done)
	if got := g.status("/api/queue", cookie); got != http.StatusUnauthorized {
		t.Errorf("the session of a disabled user: %d", got)
	}
	if got := g.curl(token, "/queue"); got != "401" {
		t.Errorf("the token of a disabled user: %s", got)
	}
	user.wait("the login page, after being disabled", atLogin)
	user.run("document.getElementById('username').value = 'Bo'")
	user.typeInto("#password", userPassword+"\r")
	user.wait("to be told", says("This account cannot be used at the moment."))
	user.typeInto("#password", "a wrong one\r")
	user.wait("to be told no more", says("Wrong name or password."))
}

// curl asks with a token and gives the status.
func (g *gate) curl(token, path string) string {
	g.t.Helper()
	out, err := exec.Command("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Authorization: Bearer "+token, g.url+path).Output()
	if err != nil {
		g.t.Fatal(err)
	}
	return string(out)
}

func (g *gate) tokenSocket(token string) *websocket.Conn {
	g.t.Helper()
	conn, _, err := websocket.Dial(g.t.Context(), g.url+"/ws?clientId=script&token="+token, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { conn.CloseNow() })
	conn.SetReadLimit(1 << 20)
	return conn
}

func wantClosedSince(t *testing.T, conn *websocket.Conn, done time.Time) {
	t.Helper()
	ctx, cancel := context.WithDeadline(t.Context(), done.Add(5*time.Second))
	defer cancel()
	for {
		if _, _, err := conn.Read(ctx); err != nil {
			if took := time.Since(done); took > time.Second {
				t.Errorf("the token's socket was open for %v", took)
			}
			return
		}
	}
}

// Every page of ours about people fits a phone and a desktop, says what its
// fields are, and works without a script.
func TestPeoplePagesFitEveryScreen(t *testing.T) {
	needBrowser(t)
	for name, s := range map[string]size{"phone": phone, "desktop": desktop} {
		t.Run(name, func(t *testing.T) {
			c := startStandIn(t, standin.Version0_24_0, "")
			g := startGate(t, c)
			p := openTab(t, s)
			p.setUp(g)
			look := func(picture string) {
				t.Helper()
				wantFit(p, picture)
				wantLabels(p, picture)
				p.picture("people-" + picture + "-" + name)
			}
			address := p.invite(g, "for Grace")
			p.forget() // what ComfyUI's page said, to which the set-up led
			look("invitation")
			g.populate(g.cookieOf(p), address)
			for _, path := range []string{"account", "admin", "admin/people", "admin/links", "admin/sessions", "admin/tokens", "admin/log"} {
				p.open(g.url + "/_latch/" + path)
				p.wait(path, "document.querySelector('.tabs [aria-current]')")
				look(strings.ReplaceAll(path, "/", "-"))
			}
			p.open(g.url + "/_latch/admin/people")
			p.run("document.querySelector('details').open = true; scrollTo(0, 1e6)")
			look("change")
			guest := g.post(g.cookieOf(p), "links", map[string]any{"kind": "guest", "runs": 3})
			lin := g.post(g.cookieOf(p), "people", map[string]any{"name": "Lin", "role": "user", "password": userPassword})
			reset := g.post(g.cookieOf(p), "links", map[string]any{"kind": "reset", "user": lin["id"]})
			pairing := g.post(g.cookieOf(p), "links", map[string]any{"kind": "phone"})
			invited := g.post(g.cookieOf(p), "links", map[string]any{"kind": "invitation", "role": "user"})
			visitor := openTab(t, s)
			for kind, link := range map[string]map[string]any{"guest": guest, "join": invited, "reset": reset, "pair": pairing} {
				visitor.open(link["value"].(string))
				visitor.wait("the "+kind+" page", "document.querySelector('main .main')")
				wantFit(visitor, kind)
				wantLabels(visitor, kind)
				visitor.picture("people-" + kind + "-" + name)
			}
			// Of our own pages: what follows passes through ComfyUI's.
			for _, e := range append(p.complaints(), visitor.complaints()...) {
				if !isExpected(e) {
					t.Errorf("the console says: %s", e)
				}
			}
			// A phone that was let in by the code has shown no password yet.
			visitor.open(pairing["value"].(string))
			visitor.press("#submit")
			visitor.wait("ComfyUI's page", "location.pathname === '/'")
			visitor.open(g.url + "/_latch/admin/people")
			visitor.run("document.getElementById('note').form.requestSubmit()")
			visitor.wait("the password to be asked for", "document.getElementById('proof')")
			wantFit(visitor, "prove")
			wantLabels(visitor, "prove")
			visitor.picture("people-prove-" + name)
			visitor.sure(atMade)
		})
	}
}

func (g *gate) cookieOf(p *tab) string { return p.cookie(g.url) }

// post asks the JSON API, as a page of ours would.
func (g *gate) post(cookie, path string, body map[string]any) map[string]any {
	g.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		g.t.Fatal(err)
	}
	req, err := http.NewRequest("POST", g.url+"/_latch/api/"+path, bytes.NewReader(text))
	if err != nil {
		g.t.Fatal(err)
	}
	req.Header.Set("Cookie", cookie)
	req.Header.Set("Origin", g.url)
	r, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer r.Body.Close()
	answer := make(map[string]any)
	if json.NewDecoder(r.Body).Decode(&answer); r.StatusCode != http.StatusOK {
		g.t.Fatalf("POST %s: %d %v", path, r.StatusCode, answer)
	}
	return answer
}

// populate fills the lists, so that the pages have something to show.
func (g *gate) populate(cookie, invitation string) {
	g.t.Helper()
	for i, person := range []string{"Grace Hopper", "Alan", "山田 太郎", "A name that is about as long as a name may be, sixty-four let"} {
		g.post(cookie, "people", map[string]any{"name": person, "role": []string{"admin", "user"}[min(i, 1)], "password": userPassword})
	}
	for _, role := range []string{"run", "read", "admin"} {
		g.post(cookie, "tokens", map[string]any{"name": "krita, " + role, "role": role, "expires": "30d"})
	}
	g.post(cookie, "links", map[string]any{"kind": "guest", "note": "the open day", "runs": 20})
	code := invitation[strings.Index(invitation, "=")+1:]
	if strings.Contains(fmt.Sprint(g.log.tail()), code) {
		g.t.Error("the log has the code of a link")
	}
}
