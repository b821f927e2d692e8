package browsertest

import (
	"testing"
)

// Memory is freed when the last window closes, not before.
func TestLastWindowFreesMemory(t *testing.T) {
	forEachComfyUI(t, func(t *testing.T, c *comfyUI) {
		if c.real {
			t.Skip("what reaches a real ComfyUI cannot be seen")
		}
		g := startGate(t, c, "--debug")
		first := enter(t, c, g)
		second := first.another()
		second.open(g.url + "/")
		second.graph(c)

		first.open("about:blank")
		first.wait("the window to be gone", "location.href === 'about:blank'")
		if !until(func() bool { return g.handled("/_latch/leave") == 1 }) {
			t.Fatal("the gate is not told that a window has closed")
		}
		if n := c.count("POST", "/free"); n != 0 {
			t.Error("memory was freed while another window was open")
		}
		second.open("about:blank")
		if !until(func() bool { return c.count("POST", "/free")+c.count("POST", "/api/free") == 1 }) {
			t.Errorf("ComfyUI was told to free its memory %d times, want 1", c.count("POST", "/free"))
		}
	})
}

// count counts the requests that reached the stand-in.
func (c *comfyUI) count(method, path string) int {
	n := 0
	for _, r := range c.server.Requests() {
		if r.Method == method && r.URI == path {
			n++
		}
	}
	return n
}
