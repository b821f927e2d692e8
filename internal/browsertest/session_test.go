package browsertest

import (
	"testing"
)

// A session that ends on the server takes the page to the login by itself, and
// after it back to where one was.
func TestEndedSessionLeadsToTheLoginAndBack(t *testing.T) {
	forEachComfyUI(t, func(t *testing.T, c *comfyUI) {
		g := startGate(t, c)
		p := openTab(t, desktop)
		p.setUp(g)
		const place = "/?place=1"
		p.open(g.url + place)
		p.graph(c)

		other := p.another()
		other.open(g.url + "/logout")
		other.press("#submit")
		p.wait("the login, after logging out in another window", atLogin)
		p.logIn()
		p.wait("where one was", "location.pathname + location.search === '"+place+"'")
		p.graph(c)

		g.remove("PASSWORD")
		p.wait("the set-up, after the password was deleted", atLogin+" && document.getElementById('submit').textContent === 'Set password'")
		p.typeInto("#username", ownerName)
		p.typeInto("#password", ownerPassword+"\r")
		p.wait("where one was, again", "location.pathname + location.search === '"+place+"'")
		if p.asked() {
			t.Error("the page asked whether to leave")
		}
	})
}
