package browsertest

import (
	"fmt"
	"net/http"
	"testing"
)

func TestFirstVisitGraphPictureLogOut(t *testing.T) {
	forEachComfyUI(t, func(t *testing.T, c *comfyUI) {
		g := startGate(t, c)
		p := enter(t, c, g)
		p.queue(quick(0x102030))
		p.result()
		wantAccountMenu(p, ownerName+" (owner)", "Log out")

		cookie := p.cookie(g.url)
		if got := g.status("/api/queue", cookie); got != http.StatusOK {
			t.Fatalf("the session does not work outside the browser: %d", got)
		}
		open, status := g.socket(cookie)
		if open == nil {
			t.Fatalf("the session's socket: %d", status)
		}
		p.run("localStorage.setItem('left.behind', '1'); sessionStorage.setItem('left.behind', '1')")
		p.press(".comfylatch-logout")
		p.wait("the login page", atLogin+" && "+says("You are logged out."))
		if got := eval[int](p, "localStorage.length + sessionStorage.length"); got != 0 {
			t.Errorf("%d things are left in the browser", got)
		}
		if p.asked() {
			t.Error("logging out asked whether to leave the page")
		}
		wantClosed(t, open)
		for _, path := range []string{"/api/queue", "/queue", "/api/settings", "/ws"} {
			if got := g.status(path, cookie); got != http.StatusUnauthorized {
				t.Errorf("GET %s with the old cookie: %d, want 401", path, got)
			}
		}
		if _, status := g.socket(cookie); status != http.StatusUnauthorized {
			t.Errorf("a socket with the old cookie: %d, want 401", status)
		}
		p.open(g.url + "/")
		p.wait("the login page again", atLogin)
	})
}

// wantAccountMenu opens the Account menu in ComfyUI's own and looks for entries.
func wantAccountMenu(p *tab, entries ...string) {
	p.t.Helper()
	p.openAccountMenu()
	for _, e := range entries {
		p.wait(fmt.Sprintf("%q in the Account menu", e), text(e))
	}
	p.run("document.body.click(); document.dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape'}))")
}

// openAccountMenu presses ComfyUI's logo and points at "Account". What ComfyUI
// covers the page with at first, such as missing models, is closed before.
func (p *tab) openAccountMenu() {
	p.t.Helper()
	p.wait("the Account menu", "("+text("Account")+`) || (() => {
  document.querySelectorAll('.p-dialog-close-button').forEach((e) => e.click());
  if (!document.querySelector('.p-tieredmenu')) document.querySelector('.comfy-menu-button-wrapper, .comfyui-logo-wrapper').click();
})()`)
	p.wait("the Account menu's entries", shown(".p-tieredmenu-submenu")+" || "+`void [...document.querySelectorAll('.p-tieredmenu-item-content')].find((e) => e.textContent.trim() === 'Account')?.click()`)
}
