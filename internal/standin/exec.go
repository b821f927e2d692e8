package standin

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// run is one execution of a prompt.
type run struct {
	s        *Server
	it       *item
	keys     map[string]string // cache keys of the nodes
	values   map[string][]any
	executed []string
	states   *object // of the nodes that have begun, for progress_state
	outputs  *object // what the output nodes show
	meta     *object
	messages list // the events that the history keeps
}

// outcome is how a prompt ended.
type outcome struct {
	started, ended int64 // milliseconds
	failure        *object
	interrupted    bool
}

// work runs one prompt and tells of it in ComfyUI's order: the history holds the prompt before
// its client learns that it has ended, since clients ask for it at once.
func (s *Server) work(ctx context.Context, it *item) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.queue.setInterrupt(cancel)
	r := &run{s: s, it: it, values: map[string][]any{}, states: obj(), outputs: obj(), meta: obj()}
	begun := time.Now()
	r.execute(ctx)
	it.entry = r.entry()
	s.queue.done(it)
	if it.client.given {
		s.hub.send(it.client.sid, event("executing", obj("node", nil, "prompt_id", it.id)))
	}
	s.logLine(fmt.Sprintf("Prompt executed in %.2f seconds", time.Since(begun).Seconds()))
}

func (r *run) entry() *object {
	prompt := r.it.tuple()
	if !r.s.profile.modern { // 0.24.0 removed them when the prompt came in
		extra := r.it.extra.clone()
		for _, k := range secretKeys {
			extra.del(k)
		}
		prompt[3] = extra
	}
	status, done := "success", true
	if r.it.finished.failure != nil || r.it.finished.interrupted {
		status, done = "error", false
	}
	return obj("prompt", prompt, "outputs", r.outputs,
		"status", obj("status_str", status, "completed", done, "messages", r.messages), "meta", r.meta)
}

// message records an event for the history and sends it to the prompt's client. Only an
// interruption is told to everybody when there is none.
func (r *run) message(kind string, data *object, everybody bool) int64 {
	now := time.Now().UnixMilli()
	data.set("timestamp", now)
	r.messages = append(r.messages, list{kind, data})
	if r.it.client.given || everybody {
		r.s.hub.deliver(r.it.client, event(kind, data))
	}
	return now
}

func (r *run) execute(ctx context.Context) {
	id := r.it.id
	r.it.finished.started = r.message("execution_start", obj("prompt_id", id), false)
	r.keys = r.s.cacheKeys(r.it.graph)
	r.s.cache.begin(r.keys)
	hits := list{}
	for _, n := range r.it.prompt.keys {
		if r.cached(n) {
			hits = append(hits, n)
		}
	}
	r.message("execution_cached", obj("nodes", hits, "prompt_id", id), false)
	p := newPlan(r.it.graph, r.it.outputs, r.cached)
	for {
		n, more := p.next()
		if !more {
			break
		}
		if err := r.node(ctx, r.it.graph[n]); err != nil {
			r.failed(ctx, r.it.graph[n], err)
			return
		}
		p.ran(n)
	}
	r.it.finished.ended = r.message("execution_success", obj("prompt_id", id), false)
}

func (r *run) cached(id string) bool {
	_, ok := r.s.cache.get(r.keys[id])
	return ok
}

// node runs one node, or shows its cached result again.
func (r *run) node(ctx context.Context, n *node) error {
	if res, ok := r.s.cache.get(r.keys[n.id]); ok {
		r.values[n.id] = res.values
		r.showAgain(n, res)
		r.state(n.id, 1, 1, "finished")
		return nil
	}
	r.state(n.id, number("0.0"), number("1.0"), "running")
	if r.it.client.given {
		r.s.queue.setNode(n.id)
		r.s.hub.send(r.it.client.sid, event("executing", obj("node", n.id, "display_node", n.id, "prompt_id", r.it.id)))
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	res, err := nodeFuncs[n.class](&call{ctx: ctx, s: r.s, run: r, node: n, in: r.inputs(n)})
	if err != nil {
		return err
	}
	res.meta = obj("node_id", n.id, "display_node", n.id, "parent_node", nil, "real_node_id", n.id)
	r.s.cache.put(r.keys[n.id], res)
	r.values[n.id] = res.values
	if res.ui.len() > 0 {
		r.show(n.id, res)
	}
	last := r.states.object(n.id).vals["max"]
	r.state(n.id, last, last, "finished")
	r.executed = append(r.executed, n.id)
	return nil
}

// show records and sends what an output node shows.
func (r *run) show(id string, res result) {
	if r.it.client.given {
		r.s.hub.send(r.it.client.sid, event("executed", obj("node", id, "display_node", id, "output", res.ui, "prompt_id", r.it.id)))
	}
	if res.ui != nil {
		r.outputs.set(id, res.ui)
		r.meta.set(id, res.meta)
	}
}

// showAgain is show for a cached result: here the event comes even if there is nothing to show,
// and 0.24.0 records nothing when the prompt has no client.
func (r *run) showAgain(n *node, res result) {
	if r.it.client.given || !r.s.profile.modern {
		r.show(n.id, res)
	}
}

// inputs resolves the links of a node.
func (r *run) inputs(n *node) map[string]any {
	in := map[string]any{}
	for _, d := range n.def.inputs {
		v, there := n.inputs.get(d.name)
		if !there {
			continue
		}
		if link, ok := v.([]any); ok && len(link) == 2 {
			v = r.linked(link)
		}
		in[d.name] = v
	}
	return in
}

func (r *run) linked(link list) any {
	from, _ := link[0].(string)
	values, there := r.values[from]
	if !there { // left out of the plan because the cache has it
		res, _ := r.s.cache.get(r.keys[from])
		values = res.values
		r.values[from] = values
	}
	i, ok := link[1].(number)
	if !ok {
		return nil
	}
	x := int(i.float())
	if x < 0 {
		x += len(values)
	}
	if x < 0 || x >= len(values) {
		return nil
	}
	return values[x]
}

// state sets how far a node is and sends the state of all that have begun.
func (r *run) state(id string, value, total any, state string) {
	r.states.set(id, obj("value", value, "max", total, "state", state, "node_id", id, "prompt_id", r.it.id,
		"display_node_id", id, "parent_node_id", nil, "real_node_id", id))
	r.s.hub.deliver(r.it.client, event("progress_state", obj("prompt_id", r.it.id, "nodes", r.states)))
}

// progress tells that a node has done value of total steps, with the picture so far: before the
// event for those who negotiated the new form, after it for the rest.
func (r *run) progress(id string, value, total int, mime string, img []byte) {
	r.state(id, value, total, "running")
	early := r.s.hub.wantsPreviewMetadata(r.it.client)
	if early {
		r.s.hub.previewWithMetadata(r.it.client.sid, r.it.id, id, mime, img)
	}
	r.s.hub.deliver(r.it.client, event("progress", obj("value", value, "max", total, "prompt_id", r.it.id, "node", id)))
	if !early {
		r.s.hub.preview(r.it.client, mime, img)
	}
}

// failed tells of a node that did not finish, by its own fault or by an interruption.
func (r *run) failed(ctx context.Context, n *node, err error) {
	executed := append(list{}, anys(r.executed)...)
	if ctx.Err() != nil {
		r.it.finished.interrupted = true
		r.it.finished.ended = r.message("execution_interrupted",
			obj("prompt_id", r.it.id, "node_id", n.id, "node_type", n.class, "executed", executed), true)
		r.s.logLine("Processing interrupted")
		return
	}
	kind, msg := "RuntimeError", err.Error()
	var py *pyError
	if errors.As(err, &py) {
		kind, msg = py.kind, py.message
	}
	data := obj("prompt_id", r.it.id, "node_id", n.id, "node_type", n.class, "executed", executed,
		"exception_message", msg+"\n", "exception_type", kind, "traceback", traceback(n.class), "current_inputs", r.describeInputs(n),
		"current_outputs", anys(r.it.prompt.keys))
	r.it.finished.ended = r.message("execution_error", data, false)
	r.it.finished.failure = data
	r.s.logLine("!!! Exception during processing !!! " + msg)
}

// describeInputs prints a node's inputs for an error, the hidden ones too: whatever extra_pnginfo
// held is in the event and in the history.
func (r *run) describeInputs(n *node) *object {
	in, shown := r.inputs(n), obj()
	for _, d := range n.def.inputs {
		if v, there := in[d.name]; there {
			shown.set(d.name, list{describe(v)})
		}
	}
	for _, name := range n.def.hidden {
		v := any(r.it.prompt)
		if name != "prompt" {
			v, _ = r.it.extra.get(name)
		}
		if v != nil {
			v = str(v)
		}
		shown.set(name, list{v})
	}
	return shown
}

func anys(l []string) list {
	all := make(list, len(l))
	for i, x := range l {
		all[i] = x
	}
	return all
}

// texts are the metadata of a saved picture: the prompt and each entry of extra_pnginfo, the
// workflow among them.
func (r *run) texts() []string {
	texts := []string{"prompt", string(dumps(r.it.prompt))}
	info := r.it.extra.object("extra_pnginfo")
	if info != nil {
		for _, k := range info.keys {
			texts = append(texts, k, string(dumps(info.vals[k])))
		}
	}
	return texts
}
