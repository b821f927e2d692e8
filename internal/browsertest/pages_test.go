package browsertest

import (
	"testing"

	cd "github.com/chromedp/chromedp"

	"comfylatch/internal/standin"
)

func TestPagesFitEveryScreenAndNameTheirFields(t *testing.T) {
	needBrowser(t)
	for name, s := range map[string]size{"phone": phone, "small phone": {320, 568}, "desktop": desktop} {
		t.Run(name, func(t *testing.T) {
			c := startStandIn(t, standin.Version0_24_0, "")
			g := startGate(t, c, "--guest")
			p := openTab(t, s)
			fits := func(path string) {
				t.Helper()
				p.open(g.url + path)
				wantFit(p, path)
				wantLabels(p, path)
			}
			fits("/login") // the set-up
			fits("/auth_login.html")
			p.setUp(g)
			fits("/logout")
			fits("/_latch/there-is-no-such-page")
			c.stop()
			p.openDown(g)
			wantFit(p, "the page of a ComfyUI that is down")
			wantLabels(p, "the page of a ComfyUI that is down")
			p.forget()
			p.open(g.url + "/logout")
			p.press("#submit")
			p.wait("the login page", atLogin)
			fits("/login?next=%2F")
			p.typeInto("#password", "wrong\r")
			p.wait("the refusal", shown("#alert"))
			wantFit(p, "a refused login")
			if got := eval[string](p, "document.activeElement.id"); got != "password" {
				t.Errorf("after a refusal the focus is on %q", got)
			}
			for _, e := range p.complaints() {
				if !isExpected(e) {
					t.Errorf("the console says: %s", e)
				}
			}
		})
	}
}

// isExpected tells the complaints that go with the statuses of our own pages.
func isExpected(e string) bool {
	switch e {
	case "401 POST /login", "404 GET /_latch/there-is-no-such-page", "502 GET /health", "503 GET /health":
		return true
	}
	return len(e) > 33 && e[:33] == "browser: Failed to load resource:"
}

func wantFit(p *tab, what string) {
	p.t.Helper()
	if eval[bool](p, "document.documentElement.scrollWidth > innerWidth") {
		p.t.Errorf("%s scrolls sideways", what)
	}
}

// wantLabels looks for what a screen reader needs.
func wantLabels(p *tab, what string) {
	p.t.Helper()
	for _, rule := range []struct{ want, js string }{
		{"a language", "document.documentElement.lang"},
		{"a title", "document.title"},
		{"one heading", "document.querySelectorAll('h1').length === 1"},
		{"a main part", "document.querySelector('main')"},
		{"a label for each field", "[...document.querySelectorAll('input:not([type=hidden])')].every((e) => e.labels?.length && e.labels[0].textContent.trim())"},
		{"a text on each button", "[...document.querySelectorAll('button')].every((e) => (e.getAttribute('aria-label') ?? e.textContent).trim())"},
		{"an alternative for each picture", "[...document.images].every((e) => e.hasAttribute('alt'))"},
	} {
		if !eval[bool](p, "!!("+rule.js+")") {
			p.t.Errorf("%s lacks %s", what, rule.want)
		}
	}
}

func TestLoginByKeyboardAlone(t *testing.T) {
	needBrowser(t)
	c := startStandIn(t, standin.Version0_24_0, "")
	g := startGate(t, c)
	p := openTab(t, desktop)
	p.open(g.url + "/")
	p.wait("the set-up page with its first field ready", atLogin+" && document.activeElement.id === 'username'")
	p.do(cd.KeyEvent(ownerName), cd.KeyEvent("\t"), cd.KeyEvent(ownerPassword), cd.KeyEvent("\r"))
	p.wait("to be let in", "location.pathname === '/'")

	p.open(g.url + "/logout")
	p.wait("the button", "document.activeElement.id === 'submit'")
	p.do(cd.KeyEvent("\r"))
	p.wait("the login page, ready for the password", atLogin+" && document.activeElement.id === 'password'")
	p.run("document.getElementById('password').dispatchEvent(new KeyboardEvent('keydown', { key: 'A', modifierCapsLock: true, bubbles: true }))")
	p.wait("the Caps Lock hint", shown("#caps"))
	p.do(cd.KeyEvent("a"))
	p.wait("the hint to go", "!"+shown("#caps"))
	// Show and hide, by the key next to the field.
	p.do(cd.KeyEvent("\t"), cd.KeyEvent(" "))
	p.wait("the password to be shown, and the focus back", "document.getElementById('password').type === 'text' && document.activeElement.id === 'password'")
	p.run("document.activeElement.select()")
	p.do(cd.KeyEvent(ownerPassword), cd.KeyEvent("\r"))
	p.wait("to be let in", "location.pathname === '/'")
}
