package browsertest

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// setUpByForm chooses the password without a browser, and gives the owner's
// cookie.
func (g *gate) setUpByForm() string {
	g.t.Helper()
	form := url.Values{"username": {ownerName}, "password": {ownerPassword}}
	req, err := http.NewRequest("POST", g.url+"/login", strings.NewReader(form.Encode()))
	if err != nil {
		g.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		g.t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusSeeOther || len(r.Cookies()) != 1 {
		g.t.Fatalf("set-up: %d, cookies %v", r.StatusCode, r.Cookies())
	}
	return r.Cookies()[0].Name + "=" + r.Cookies()[0].Value
}

// enterAsGuest goes in by the guest button, which appears without a restart.
func enterAsGuest(t *testing.T, c *comfyUI, g *gate) *tab {
	t.Helper()
	g.setUpByForm()
	p := openTab(t, desktop)
	p.open(g.url + "/login")
	if eval[bool](p, shown("button[name=guest_mode]")) {
		t.Error("there is a guest button without guest mode")
	}
	g.put("GUEST_MODE")
	if !until(func() bool { p.open(g.url + "/login"); return eval[bool](p, shown("button[name=guest_mode]")) }) {
		t.Fatal("guest mode does not begin")
	}
	p.press("button[name=guest_mode]")
	p.graph(c)
	return p
}

func TestGuestGeneratesAndChangesNothingElse(t *testing.T) {
	forEachComfyUI(t, func(t *testing.T, c *comfyUI) {
		g := startGate(t, c)
		p := enterAsGuest(t, c, g)
		p.wait("the GUEST badge", text("GUEST"))
		for _, hidden := range []string{".model-library-tab-button", ".workflows-tab-button"} {
			p.wait("no "+hidden, "!"+shown(hidden))
		}
		before := c.lasting()
		owners := c.queueForOwner()

		// What a guest might try, with the page's own means.
		p.run(`const { api } = comfyAPI.api;
await api.interrupt(); await api.interrupt(` + fmt.Sprintf("%q", owners[0]) + `);
await api.clearItems('queue'); await api.deleteItem('queue', ` + fmt.Sprintf("%q", owners[1]) + `); await api.clearItems('history')`)
		p.run("await app.extensionManager.setting.set('Comfy.TextareaWidget.FontSize', 19)")
		p.closeDialogs()
		p.run("void app.extensionManager.command.execute('Comfy.SaveWorkflow')")
		p.wait("to be told that saving is not for guests", says("Guests cannot save"))
		wantRefused(p)

		p.queue(quick(0x506070))
		p.result()
		for _, id := range owners {
			if !until(func() bool { return c.succeeded(id) }) {
				t.Errorf("the owner's prompt %s did not come through the guest's visit", id)
			}
		}
		if after := c.lasting(); after != before {
			t.Errorf("changed on the server by a guest:\n%s\nbefore:\n%s", after, before)
		}
		if got := eval[string](p, "fetch('/api/history').then((r) => r.text())"); strings.Contains(got, owners[0]) {
			t.Error("a guest sees the owner's history")
		}
		wantAccountMenu(p, "You are a guest", "Log in", "Log out")
	})
}

// queueForOwner queues two prompts as if somebody else had: one runs, one waits.
func (c *comfyUI) queueForOwner() (ids []string) {
	c.t.Helper()
	for i, prompt := range []map[string]any{c.slow(0x111111, 12), quick(0x222222)} {
		var answer struct {
			PromptID string `json:"prompt_id"`
		}
		c.post("/prompt", map[string]any{"prompt": prompt, "client_id": fmt.Sprintf("somebody-else-%d", i)}, &answer)
		ids = append(ids, answer.PromptID)
	}
	return ids
}

// lasting is what a guest must not change: settings, and what people have saved.
func (c *comfyUI) lasting() string {
	c.t.Helper()
	all := string(c.bytes("/settings"))
	for _, dir := range []string{"workflows", "subgraphs", "."} {
		all += "\n" + dir + ": " + string(c.bytes("/userdata?recurse=true&full_info=true&dir="+dir))
	}
	return all
}

// wantRefused tries, with the guest's cookie, what the page does not offer.
func wantRefused(p *tab) {
	p.t.Helper()
	for _, try := range []struct{ method, path, body string }{
		{"POST", "/api/settings/Comfy.Locale", `"de"`},
		{"POST", "/api/settings", `{"Comfy.Locale":"de"}`},
		{"POST", "/api/userdata/workflows%2Fx.json?overwrite=true", `{}`},
		{"DELETE", "/api/userdata/workflows%2Fx.json", ""},
		{"GET", "/internal/logs", ""},
		{"GET", "/internal/logs/raw", ""},
		{"PATCH", "/internal/logs/subscribe", `{"enabled":true,"clientId":"x"}`},
		{"POST", "/api/free", `{"unload_models":true}`},
	} {
		got := eval[int](p, fmt.Sprintf("fetch(%q, { method: %q, body: %q || undefined }).then((r) => r.status)", try.path, try.method, try.body))
		if got != http.StatusForbidden {
			p.t.Errorf("%s %s as a guest: %d, want 403", try.method, try.path, got)
		}
	}
	// A prompt is refused in ComfyUI's own shape, so that its page can tell.
	shape := eval[string](p, `fetch('/api/prompt', { method: 'POST', body: JSON.stringify({ prompt: {
  1: { class_type: 'LoadImage', inputs: { image: '../login/PASSWORD' } }, 2: { class_type: 'PreviewImage', inputs: { images: ['1', 0] } } } }) })
  .then(async (r) => { const b = await r.json(); return [r.status, typeof b.error.type, typeof b.error.message, typeof b.error.details, typeof b.node_errors].join() })`)
	if shape != "403,string,string,string,object" && shape != "400,string,string,string,object" {
		p.t.Errorf("a prompt that reads another's file: %s", shape)
	}
}

// A window that somebody else used before works for who comes next: ComfyUI's
// page keeps its client id in the window, and that is still the other's.
func TestWindowGoesFromOneToAnother(t *testing.T) {
	forEachComfyUI(t, func(t *testing.T, c *comfyUI) {
		g := startGate(t, c, "--guest")
		p := enter(t, c, g)
		first := eval[string](p, "comfyAPI.api.api.clientId")
		p.open(g.url + "/logout")
		p.press("#submit")
		p.wait("the guest button", shown("button[name=guest_mode]"))
		p.press("button[name=guest_mode]")
		p.graph(c)
		if eval[string](p, "comfyAPI.api.api.clientId") == first {
			t.Error("a guest has the owner's client id")
		}
		p.queue(quick(0xa0b0c0))
		p.result()
		p.forget()
		p.run("void app.extensionManager.command.execute('comfylatch.LogIn')")
		p.logIn()
		p.graph(c)
		if p.asked() {
			t.Error("the page asked whether to leave")
		}
		p.queue(quick(0xb0c0d0))
		p.result()
	})
}
