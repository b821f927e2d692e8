package browsertest

import (
	"fmt"
	"net/http"
	"testing"

	"comfylatch/internal/standin"
)

// A key as "openssl rand -base64 32" makes it.
const apiKey = "n+3/Zk9wQ7vXb1Lr+Uy/T0aEo5sHd8GcMi2Kj4Pf6Rg="

const keyStored = "comfyui_api_key"

func (p *tab) enterKey(g *gate, key string) {
	p.t.Helper()
	p.open(g.url + "/auth_login.html")
	p.typeInto("#api_key", key)
}

func TestAPIKeyInTheBrowser(t *testing.T) {
	forEachComfyUI(t, func(t *testing.T, c *comfyUI) {
		g := startGate(t, c, "--api-key", apiKey)
		p := openTab(t, desktop)
		p.enterKey(g, "wrong-"+apiKey+"\r")
		p.wait("the refusal", says("Wrong API key."))
		if got := eval[int](p, "localStorage.length + sessionStorage.length"); got != 0 {
			t.Error("a wrong key leaves something in the browser")
		}
		p.enterKey(g, apiKey)
		p.press("#remember")
		p.press("#submit")
		p.graph(c)
		token := eval[string](p, fmt.Sprintf("localStorage.getItem(%q) ?? ''", keyStored))
		if token == "" || token == apiKey || eval[bool](p, fmt.Sprintf("sessionStorage.getItem(%q) !== null", keyStored)) {
			t.Errorf("stored: %q, want a token in localStorage alone", token)
		}
		if bearer(t, g, token) != http.StatusOK {
			t.Error("the token does not work as Bearer")
		}
		p.queue(quick(0x90a0b0))
		p.result()
		p.open(g.url + "/auth_login.html?logout=true")
		p.wait("to be logged out", says("You are logged out."))
		if got := eval[int](p, "localStorage.length + sessionStorage.length"); got != 0 {
			t.Errorf("%d things are left in the browser", got)
		}
		if got := bearer(t, g, token); got != http.StatusUnauthorized {
			t.Errorf("the token after logging out: %d, want 401", got)
		}
	})
}

func TestAPIKeyIsForgottenWithTheWindowUnlessRemembered(t *testing.T) {
	needBrowser(t)
	c := startStandIn(t, standin.Version0_24_0, "")
	g := startGate(t, c, "--api-key", apiKey)
	p := openTab(t, desktop)
	p.enterKey(g, apiKey+"\r")
	p.wait("to be let in", "location.pathname === '/'")
	if !eval[bool](p, fmt.Sprintf("localStorage.length === 0 && sessionStorage.getItem(%q)?.length > 20", keyStored)) {
		t.Error("the token is not in sessionStorage alone")
	}
}

func bearer(t *testing.T, g *gate, token string) int {
	t.Helper()
	req, err := http.NewRequest("GET", g.url+"/api/queue", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	return r.StatusCode
}
