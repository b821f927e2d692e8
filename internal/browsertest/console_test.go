package browsertest

import (
	"slices"
	"testing"
)

// What ComfyUI's page complains of when it is loaded straight from ComfyUI is
// the base line; loaded through the gate it may complain of nothing else.
func TestNoNewErrorInTheConsole(t *testing.T) {
	forEachComfyUI(t, func(t *testing.T, c *comfyUI) {
		var base []string
		for range 2 { // what it writes at the first visit is there at the second
			direct := openTab(t, desktop)
			direct.open(c.url + "/")
			direct.comfyUI(c)
			direct.queue(quick(0x203040))
			direct.result()
			direct.settle()
			base = append(base, direct.complaints()...)
		}
		g := startGate(t, c)
		p := openTab(t, desktop)
		p.setUp(g)
		p.graph(c)
		p.queue(quick(0x304050))
		p.result()
		p.settle()
		for _, e := range p.complaints() {
			if !slices.Contains(base, e) {
				t.Errorf("new through the gate: %s", e)
			}
		}
	})
}

// settle waits until the page has asked for nothing new for a while, so that
// what it complains of is complete. Whoever complains later is not heard: a
// miss, never a false alarm.
func (p *tab) settle() {
	p.t.Helper()
	count := func() int { return eval[int](p, "performance.getEntriesByType('resource').length") }
	last, same := -1, 0
	until(func() bool {
		n := count()
		if same++; n != last {
			last, same = n, 0
		}
		return same == 10
	})
}
