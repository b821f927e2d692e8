package comfy

import (
	"encoding/json"
)

// PromptBody is the body of POST /prompt, read once: what is checked is what
// is written again (ComfyUI server.py, post_prompt). Members that nobody here
// knows stay as they are.
type PromptBody struct {
	body  Object
	nodes []Node
}

// Node is one node of a prompt.
type Node struct {
	ID     string
	Class  string // class_type, "" where it is missing or not text
	Inputs Object
	raw    *Object
	at     int // in the graph
}

// PromptError refuses a prompt in ComfyUI's own shape, so that its frontend
// shows the message and marks the node.
type PromptError struct {
	Type, Message, Details string
	NodeID, Class          string // the node at fault, "" for none
}

func (e *PromptError) Error() string { return e.Message + ": " + e.Details }

// MarshalJSON writes {"error": {...}, "node_errors": {...}} as ComfyUI does.
func (e *PromptError) MarshalJSON() ([]byte, error) {
	type fault struct {
		Type      string         `json:"type"`
		Message   string         `json:"message"`
		Details   string         `json:"details"`
		ExtraInfo map[string]any `json:"extra_info"`
	}
	type node struct {
		Errors           []fault  `json:"errors"`
		DependentOutputs []string `json:"dependent_outputs"`
		Class            string   `json:"class_type"`
	}
	f := fault{e.Type, e.Message, e.Details, map[string]any{}}
	nodes := map[string]node{}
	if e.NodeID != "" {
		nodes[e.NodeID] = node{[]fault{f}, []string{}, e.Class}
	}
	return json.Marshal(map[string]any{"error": f, "node_errors": nodes})
}

// ParsePrompt reads the body of POST /prompt. What is not a prompt at all is
// left to ComfyUI to refuse in its own words: only a body that cannot be read
// in one way is refused here, with a *PromptError.
func ParsePrompt(data []byte) (*PromptBody, error) {
	v, err := ParseJSON(data)
	if err != nil {
		return nil, &PromptError{Type: "invalid_json", Message: "The prompt could not be read", Details: err.Error()}
	}
	body, ok := v.(Object)
	if !ok {
		return nil, &PromptError{Type: "no_prompt", Message: "No prompt provided", Details: "the body is not a JSON object"}
	}
	if extra, there := body.Get("extra_data"); there {
		if _, ok := extra.(Object); !ok { // it ends ComfyUI 0.3.64's worker for good
			return nil, &PromptError{Type: "invalid_extra_data", Message: "The prompt could not be read", Details: "extra_data is not a JSON object"}
		}
	}
	p := &PromptBody{body: body}
	if err := p.checkIDs(); err != nil {
		return nil, err
	}
	graph, _ := body.Get("prompt")
	nodes, _ := graph.(Object)
	for i := range nodes {
		raw, ok := nodes[i].Value.(Object)
		if !ok {
			continue // ComfyUI refuses it
		}
		n := Node{ID: nodes[i].Key, raw: &raw, at: i}
		if class, ok := raw.Get("class_type"); ok {
			n.Class, _ = class.(string)
		}
		if inputs, ok := raw.Get("inputs"); ok {
			n.Inputs, _ = inputs.(Object)
		}
		p.nodes = append(p.nodes, n)
	}
	return p, nil
}

// Nodes are the prompt's nodes, in their order.
func (p *PromptBody) Nodes() []Node { return p.nodes }

// Text gives a member of the body that is text.
func (p *PromptBody) Text(key string) string {
	v, _ := p.body.Get(key)
	s, _ := v.(string)
	return s
}

// ClientIDs are the sockets that the prompt's events go to: client_id, or the
// one in extra_data where ComfyUI looks when that is missing.
func (p *PromptBody) ClientIDs() []string {
	var ids []string
	for _, o := range []Object{p.body, p.extraData()} {
		if v, _ := o.Get("client_id"); v != nil {
			if id, ok := v.(string); ok && id != "" {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

func (p *PromptBody) extraData() Object {
	extra, _ := p.body.Get("extra_data")
	o, _ := extra.(Object)
	return o
}

// checkIDs refuses ids that are not text. A client_id that Python cannot look
// up ({} or []) ends ComfyUI's loop of events, and with it ComfyUI (server.py,
// send_json); a prompt_id is turned into text there, and would be another's.
func (p *PromptBody) checkIDs() error {
	bad := func(key string) error {
		return &PromptError{Type: "invalid_" + key, Message: "The prompt could not be read", Details: key + " is not text"}
	}
	for _, o := range []Object{p.body, p.extraData()} {
		if v, there := o.Get("client_id"); there && v != nil {
			if _, ok := v.(string); !ok {
				return bad("client_id")
			}
		}
	}
	if v, there := p.body.Get("prompt_id"); there {
		if _, ok := v.(string); !ok {
			return bad("prompt_id")
		}
	}
	return nil
}

// Has tells whether the body has a member.
func (p *PromptBody) Has(key string) bool {
	_, ok := p.body.Get(key)
	return ok
}

// Drop removes a member of the body.
func (p *PromptBody) Drop(key string) { p.body.Drop(key) }

// Bytes writes the body, with all changes made.
func (p *PromptBody) Bytes() ([]byte, error) {
	graph, _ := p.body.Get("prompt")
	nodes, _ := graph.(Object)
	for _, n := range p.nodes {
		if n.Inputs != nil {
			n.raw.Set("inputs", n.Inputs)
		}
		nodes[n.at].Value = *n.raw
	}
	return JSON(p.body)
}

// DropFingerprints removes "is_changed", which ComfyUI computes itself but
// believes when a visitor sends it: a wrong one serves another's cached result
// (ComfyUI execution.py, IsChangedCache).
func (p *PromptBody) DropFingerprints() {
	for i := range p.nodes {
		p.nodes[i].raw.Drop("is_changed")
	}
}
