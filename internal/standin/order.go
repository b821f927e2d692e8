package standin

// plan is the order in which the nodes of a prompt run: only those that an output needs and the
// cache does not hold, each after what it links to.
type plan struct {
	graph   graph
	waiting map[string]int      // node → how many it waits for
	blocks  map[string][]string // node → those that wait for it
	order   []string            // of joining, which decides between equals
}

// newPlan plans the outputs. Cached nodes are left out, except outputs: their cached result is
// shown again.
func newPlan(g graph, outputs []string, cached func(id string) bool) *plan {
	p := &plan{graph: g, waiting: map[string]int{}, blocks: map[string][]string{}}
	for _, o := range outputs {
		p.add(o, cached)
	}
	return p
}

func (p *plan) add(id string, cached func(id string) bool) {
	for todo := []string{id}; len(todo) > 0; {
		id := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if _, there := p.waiting[id]; there {
			continue
		}
		p.waiting[id] = 0
		p.order = append(p.order, id)
		if cached(id) {
			continue
		}
		needs := map[string]bool{}
		for _, from := range p.graph[id].sources() {
			if needs[from] || cached(from) {
				continue
			}
			needs[from] = true
			p.waiting[id]++
			p.blocks[from] = append(p.blocks[from], id)
			todo = append(todo, from)
		}
	}
}

// sources are the nodes that n links to, in the order of its inputs. Links in inputs that the
// class does not have are not followed.
func (n *node) sources() []string {
	var all []string
	for _, in := range n.def.inputs {
		v, _ := n.inputs.get(in.name)
		if link, ok := v.([]any); ok && len(link) == 2 {
			if from, ok := link[0].(string); ok {
				all = append(all, from)
			}
		}
	}
	return all
}

// next picks among the nodes that can run now the one whose result people see soonest: an
// output, else one that an output waits for, else one before such a one.
func (p *plan) next() (string, bool) {
	var ready []string
	for _, id := range p.order {
		if n, there := p.waiting[id]; there && n == 0 {
			ready = append(ready, id)
		}
	}
	if len(ready) == 0 {
		return "", false
	}
	for distance := range 3 {
		for _, id := range ready {
			if p.leadsToOutput(id, distance) {
				return id, true
			}
		}
	}
	return ready[0], true
}

func (p *plan) leadsToOutput(id string, distance int) bool {
	if distance == 0 {
		return p.graph[id].def.output
	}
	for _, b := range p.blocks[id] {
		if p.leadsToOutput(b, distance-1) {
			return true
		}
	}
	return false
}

// ran takes a node out and lets go those that waited for it.
func (p *plan) ran(id string) {
	delete(p.waiting, id)
	for _, b := range p.blocks[id] {
		p.waiting[b]--
	}
}
