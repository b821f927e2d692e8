package browsertest

import (
	"encoding/json"
	"fmt"
	"testing"
)

const (
	ownerName     = "Ada"
	ownerPassword = "correct horse battery"
	savedWorkflow = "latch-browser-test" // a workflow's name in ComfyUI
)

const atLogin = "location.pathname === '/login' && document.getElementById('password')"

// setUp is a first visit: from any page to the set-up, and through it.
func (p *tab) setUp(g *gate) {
	p.t.Helper()
	p.open(g.url + "/")
	p.wait("the set-up page", atLogin)
	p.typeInto("#username", ownerName)
	p.typeInto("#password", ownerPassword+"\r")
	p.wait("to be let in", "location.pathname === '/' && document.readyState === 'complete'")
}

// logIn fills in the login page that is there.
func (p *tab) logIn() {
	p.t.Helper()
	p.wait("the login page", atLogin)
	p.run(fmt.Sprintf("document.getElementById('username').value = %q", ownerName))
	p.typeInto("#password", ownerPassword+"\r")
}

// graph waits until ComfyUI's page stands, with what the gate added to it.
func (p *tab) graph(c *comfyUI) {
	p.t.Helper()
	p.comfyUI(c)
	p.wait("the Log-out button", shown(".comfylatch-logout"))
}

// comfyUI waits until ComfyUI's page stands. There is a graph on it from the
// start, the default one or the one that was left: it comes late, and would
// take the place of a graph that was loaded before it.
func (p *tab) comfyUI(c *comfyUI) {
	p.t.Helper()
	p.wait("the graph", fmt.Sprintf("window.app?.graph && window.app.extensionManager && document.querySelector('canvas') && Object.keys(LiteGraph.registered_node_types).length > %d && app.canvas && app.graph._nodes.length > 0 && comfyAPI.api.api.clientId", c.nodes))
	// From here on, what arrives by the socket is noted.
	p.run(`if (window.seen) return;
window.seen = [];
for (const kind of ['execution_start', 'execution_cached', 'executing', 'progress', 'progress_state', 'executed', 'execution_success', 'execution_error', 'execution_interrupted', 'b_preview', 'reconnecting', 'reconnected'])
  comfyAPI.api.api.addEventListener(kind, (e) => seen.push({ kind, detail: e.detail }));`)
}

// enter is a first visit that ends in ComfyUI's page.
func enter(t *testing.T, c *comfyUI, g *gate) *tab {
	t.Helper()
	p := openTab(t, desktop)
	p.setUp(g)
	p.graph(c)
	return p
}

// queue loads a prompt as a graph and presses Run, and gives the prompt's id.
func (p *tab) queue(prompt map[string]any) string {
	p.t.Helper()
	p.load(prompt)
	return p.queueGraph()
}

func (p *tab) load(prompt map[string]any) {
	p.t.Helper()
	body, err := json.Marshal(prompt)
	if err != nil {
		p.t.Fatal(err)
	}
	p.run(fmt.Sprintf("await app.loadApiJson(%s, 'latch')", body))
	p.wait("the graph of the prompt", fmt.Sprintf("app.graph._nodes.length === %d", len(prompt)))
}

func (p *tab) queueGraph() string {
	p.t.Helper()
	p.run("seen.length = 0; await app.queuePrompt(0, 1)")
	p.wait("the prompt to start", "seen.some((e) => e.kind === 'execution_start')")
	return eval[string](p, "seen.findLast((e) => e.kind === 'execution_start').detail.prompt_id")
}

func event(kind string) string { return fmt.Sprintf("seen.some((e) => e.kind === %q)", kind) }

// result waits until the prompt is done and its picture is on the page.
func (p *tab) result() {
	p.t.Helper()
	p.wait("the prompt to end", event("execution_success"))
	p.picturePresent()
}

// picturePresent waits until the SaveImage node shows a picture that was loaded
// through the gate.
func (p *tab) picturePresent() {
	p.t.Helper()
	p.lookAt("SaveImage")
	p.wait("the picture", `app.graph._nodes.some((n) => n.type === 'SaveImage' && (n.imgs ?? []).some((i) => i.naturalWidth > 0 && new URL(i.src).origin === location.origin && i.src.includes('/view?')))`)
}

// lookAt brings a node into sight: others are not drawn, and load no picture.
func (p *tab) lookAt(class string) {
	p.t.Helper()
	p.run(fmt.Sprintf("app.canvas.centerOnNode(app.graph._nodes.find((n) => n.type === %q))", class))
}
