package standin

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// graph is a validated prompt.
type graph map[string]*node

type node struct {
	id, class string
	def       nodeDef
	inputs    *object // constants converted to the type of their input
}

// checked is the result of validating a prompt: err, or the outputs to run.
type checked struct {
	err        *object
	nodeErrors *object
	outputs    []string
	graph      graph
}

// pyError stands for an exception inside ComfyUI that its validation reports.
type pyError struct{ kind, message string }

func (e *pyError) Error() string { return e.message }

// validator works through one prompt. Errors come in ComfyUI's order of precedence, which the
// recordings and the frontend's error display depend on.
type validator struct {
	s      *Server
	prompt *object
	graph  graph
	done   map[string]verdict
	order  []string // of done
	path   []string // nodes being validated, to find a cycle
	onPath map[string]bool
}

type verdict struct {
	ok     bool
	errors list
}

// validate checks a prompt. crashed means that ComfyUI fails with a 500 on such input.
func (s *Server) validate(prompt *object, only map[string]bool) (c checked, crashed bool) {
	c.nodeErrors = obj()
	v := &validator{s: s, prompt: prompt, graph: graph{}, done: map[string]verdict{}, onPath: map[string]bool{}}
	var outputs []string
	for _, id := range prompt.keys {
		isOutput, err, crashed := v.classify(id)
		if crashed || err != nil {
			return checked{err: err, nodeErrors: c.nodeErrors}, crashed
		}
		if isOutput && (only == nil || only[id]) {
			outputs = append(outputs, id)
		}
	}
	if len(outputs) == 0 {
		c.err = promptError("prompt_no_outputs", "Prompt has no outputs", "", obj())
		return c, false
	}
	var reasons []string
	for _, id := range outputs {
		if own := v.output(id, c.nodeErrors); own == nil {
			c.outputs = append(c.outputs, id)
		} else {
			reasons = append(reasons, own...)
		}
	}
	if len(c.outputs) == 0 {
		c.err = promptError("prompt_outputs_failed_validation", "Prompt outputs failed validation", strings.Join(reasons, "\n"), obj())
	}
	c.graph = v.graph
	return c, false
}

// classify looks a node's class up.
func (v *validator) classify(id string) (output bool, refused *object, crashed bool) {
	raw, isObject := v.prompt.vals[id].(*object)
	if !isObject {
		switch v.prompt.vals[id].(type) {
		case string, []any: // Python finds no "class_type" in either
			return false, v.noClass(id, nil), false
		}
		return false, nil, true
	}
	title, _ := raw.object("_meta").get("title")
	class, there := raw.get("class_type")
	if !there {
		return false, v.noClass(id, title), false
	}
	name, isString := class.(string)
	def, known := v.s.def(name)
	if !isString || !known {
		if title == nil {
			title = class
		}
		return false, v.noSuchNode(id, class, title), false
	}
	inputs, _ := raw.get("inputs")
	o, _ := inputs.(*object)
	v.graph[id] = &node{id: id, class: name, def: def, inputs: o}
	return def.output, nil, false
}

func (v *validator) noClass(id string, title any) *object {
	details := "Node ID '#" + id + "'"
	if !v.s.profile.modern {
		return promptError("invalid_prompt", "Cannot execute because a node is missing the class_type property.", details, obj())
	}
	name := "ID #" + id
	if title != nil {
		name = str(title)
	}
	return promptError("missing_node_type", "Node '"+name+"' has no class_type. The workflow may be corrupted or a custom node is missing.",
		details, obj("node_id", id, "class_type", nil, "node_title", title))
}

func (v *validator) noSuchNode(id string, class, title any) *object {
	details := "Node ID '#" + id + "'"
	if !v.s.profile.modern {
		return promptError("invalid_prompt", "Cannot execute because node "+str(class)+" does not exist.", details, obj())
	}
	return promptError("missing_node_type", "Node '"+str(title)+"' not found. The custom node may not be installed.",
		details, obj("node_id", id, "class_type", class, "node_title", title))
}

// output validates one output node with all it needs. nil means that it can run; otherwise the
// reasons that lie in the node itself are returned, and those of the nodes before it are added
// to nodeErrors.
func (v *validator) output(id string, nodeErrors *object) (own []string) {
	got, err := v.node(id)
	if err != nil {
		got = verdict{errors: list{promptError("exception_during_validation", "Exception when validating node", err.message,
			obj("exception_type", err.kind, "traceback", traceback("validate_prompt")))}}
		v.settle(id, got)
	}
	if got.ok {
		return nil
	}
	own = []string{}
	for _, e := range got.errors {
		own = append(own, e.(*object).str("message")+": "+e.(*object).str("details"))
	}
	for _, n := range v.order {
		d := v.done[n]
		if d.ok || len(d.errors) == 0 {
			continue
		}
		entry := nodeErrors.object(n)
		if entry == nil {
			entry = obj("errors", d.errors, "dependent_outputs", list{}, "class_type", v.className(n))
			nodeErrors.set(n, entry)
		}
		entry.set("dependent_outputs", append(entry.vals["dependent_outputs"].([]any), id))
	}
	return own
}

func (v *validator) className(id string) any {
	if n := v.graph[id]; n != nil {
		return n.class
	}
	return nil
}

func (v *validator) settle(id string, d verdict) {
	if _, there := v.done[id]; !there {
		v.order = append(v.order, id)
	}
	v.done[id] = d
}

// node validates one node and, through its links, those before it.
func (v *validator) node(id string) (verdict, *pyError) {
	if d, there := v.done[id]; there {
		return d, nil
	}
	n := v.graph[id]
	if n.inputs == nil {
		return verdict{}, &pyError{"KeyError", "'inputs'"}
	}
	v.path, v.onPath[id] = append(v.path, id), true
	defer func() { v.path, v.onPath[id] = v.path[:len(v.path)-1], false }()
	d := verdict{ok: true}
	for _, in := range n.def.inputs {
		val, there := n.inputs.get(in.name)
		if !there {
			if in.required {
				d.fail(inputError("required_input_missing", "Required input is missing", in.name, obj("input_name", in.name)))
			}
			continue
		}
		if link, isLink := val.([]any); isLink {
			if err := v.link(&d, in, link); err != nil {
				return d, err
			}
			continue
		}
		v.constant(&d, n, in, val)
	}
	if err := v.custom(&d, n); err != nil {
		return d, err
	}
	if prev, there := v.done[id]; there {
		return prev, nil // part of a cycle that was found further down
	}
	d.ok = d.ok && len(d.errors) == 0
	v.settle(id, d)
	return d, nil
}

func (d *verdict) fail(e *object) { d.errors = append(d.errors, e) }

func inputError(kind, message, details string, extra *object) *object {
	return promptError(kind, message, details, extra)
}

// link checks a link to another node's output, and that node.
func (v *validator) link(d *verdict, in inputDef, link list) *pyError {
	if len(link) != 2 {
		d.fail(inputError("bad_linked_input", "Bad linked input, must be a length-2 list of [node_id, slot_index]", in.name,
			obj("input_name", in.name, "input_config", in.config(), "received_value", link)))
		return nil
	}
	from, ok := link[0].(string)
	source := v.graph[from]
	if !ok || source == nil {
		return &pyError{"KeyError", repr(link[0])}
	}
	received, err := at(source.def.returns, link[1])
	if err != nil {
		return err
	}
	if received != in.kind {
		kind := in.kind
		if in.kind == "COMBO" {
			kind = repr(in.choices)
		}
		d.fail(inputError("return_type_mismatch", "Return type mismatch between linked nodes",
			fmt.Sprintf("%s, received_type(%s) mismatch input_type(%s)", in.name, received, kind),
			obj("input_name", in.name, "input_config", in.config(), "received_type", received, "linked_node", link)))
		return nil
	}
	if v.cycle(from) {
		d.ok = false
		return nil
	}
	got, inner := v.node(from)
	if inner != nil {
		d.ok = false
		v.settle(from, verdict{errors: list{inputError("exception_during_inner_validation", "Exception when validating inner node", inner.message,
			obj("input_name", in.name, "input_config", in.config(), "exception_message", inner.message, "exception_type", inner.kind,
				"traceback", traceback("validate_inputs"), "linked_node", link))}})
		return nil
	}
	d.ok = d.ok && got.ok
	return nil
}

// at is Python's tuple[index].
func at(t []string, index any) (string, *pyError) {
	switch x := index.(type) {
	case number:
		if x.isFloat() {
			return "", &pyError{"TypeError", "tuple indices must be integers or slices, not float"}
		}
		i, err := strconv.Atoi(string(x))
		if i < 0 {
			i += len(t)
		}
		if err != nil || i < 0 || i >= len(t) {
			return "", &pyError{"IndexError", "tuple index out of range"}
		}
		return t[i], nil
	case bool:
		if x {
			return at(t, number("1"))
		}
		return at(t, number("0"))
	}
	return "", &pyError{"TypeError", "tuple indices must be integers or slices, not " + typeName(index)}
}

// cycle reports whether the link leads back into the path being validated. 0.24.0 names the
// nodes of the cycle; 0.3.64 ran out of stack and named nothing.
func (v *validator) cycle(to string) bool {
	if !v.onPath[to] {
		return false
	}
	nodes := append([]string{}, v.path[slices.Index(v.path, to):]...)
	var names []string
	for _, id := range append(nodes, to) {
		names = append(names, id+" ("+v.graph[id].class+")")
	}
	for _, id := range nodes {
		d := verdict{}
		if v.s.profile.modern {
			d.fail(inputError("dependency_cycle", "Dependency cycle detected", strings.Join(names, " -> "), obj("node_id", id, "cycle_nodes", nodes)))
		}
		v.settle(id, d)
	}
	return true
}

// traceback stands for Python's list of stack lines; the contract compares only that it is one.
func traceback(where string) list {
	return list{"  File \"comfylatch/standin\", line 1, in " + where + "\n"}
}
