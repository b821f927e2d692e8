package comfy

import (
	"encoding/json"
	"fmt"
	"strings"
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
	if id := p.Text("client_id"); id != "" {
		ids = append(ids, id)
	}
	if extra, ok := p.body.Get("extra_data"); ok {
		if o, ok := extra.(Object); ok {
			if v, ok := o.Get("client_id"); ok {
				if id, ok := v.(string); ok && id != "" {
					ids = append(ids, id)
				}
			}
		}
	}
	return ids
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

// CheckFiles refuses inputs that name files outside ComfyUI's folders.
// ComfyUI 0.3.64 and 0.24 join what a loader is given to the input folder
// without a look (CVE-2026-56673, folder_paths.get_annotated_filepath), so
// "../login/PASSWORD" and "/etc/passwd" work there.
//
// For the core loaders that is never right. Which input of which custom node
// is a file is not known, and some take absolute paths on purpose: an
// administrator may use those (everyNode is false). For others a
// text input counts as a file when it is called like one or its node is a
// loader, and everything else that is nothing but a climbing path; prose must
// pass ("a cat, 16/9, and so on ...").
func (p *PromptBody) CheckFiles(everyNode bool) error {
	for _, n := range p.nodes {
		for _, m := range n.Inputs {
			for _, s := range texts(m.Value) {
				if !escapes(s) || !coreLoaders[n.Class] && !(everyNode && likeAFile(n.Class, m.Key, s)) {
					continue
				}
				return &PromptError{Type: "value_not_allowed", Message: "A file name is not allowed",
					Details: fmt.Sprintf("%s: %q leads out of ComfyUI's folders", m.Key, short(s)), NodeID: n.ID, Class: n.Class}
			}
		}
	}
	return nil
}

// coreLoaders are ComfyUI's own nodes that read a file of the input folder
// (nodes.py, comfy_extras/nodes_{audio,video,load_3d,dataset}.py).
var coreLoaders = map[string]bool{
	"LoadImage": true, "LoadImageMask": true, "LoadImageOutput": true, "LoadLatent": true, "LoadAudio": true, "LoadVideo": true,
	"Load3D": true, "Load3DAnimation": true, "LoadImageSetFromFolderNode": true, "LoadImageTextSetFromFolderNode": true,
	"LoadImageDataSetFromFolder": true, "LoadImageTextDataSetFromFolder": true, "LoadTrainingDataset": true, "LoadImageIncognito": true,
}

// texts are the strings of an input's value: itself, or the elements of a list
// that is not a link to another node (["4", 0]).
func texts(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		if len(v) == 2 {
			if _, isLink := v[1].(json.Number); isLink {
				return nil
			}
		}
		var all []string
		for _, e := range v {
			all = append(all, texts(e)...)
		}
		return all
	case Object:
		var all []string
		for _, m := range v {
			all = append(all, texts(m.Value)...)
		}
		return all
	}
	return nil
}

// likeAFile tells whether an input that escapes is one that a node would open.
func likeAFile(class, input, value string) bool {
	return namesFile(class, input) || strings.Contains(value, "..") && !strings.ContainsAny(value, " \n,")
}

// namesFile tells inputs that take a file's name.
func namesFile(class, input string) bool {
	switch strings.ToLower(input) {
	case "image", "images", "mask", "video", "audio", "file", "filename", "filename_prefix", "path", "directory", "folder", "model_file", "image_path", "video_path", "subfolder", "latent":
		return true
	}
	l := strings.ToLower(input)
	return strings.HasPrefix(class, "Load") || strings.HasSuffix(l, "_file") || strings.HasSuffix(l, "_path") || strings.HasSuffix(l, "_name") || strings.HasSuffix(l, "_dir")
}

// escapes tells whether a name is absolute or climbs: with either separator,
// and a drive or a share as Windows has them.
func escapes(name string) bool {
	s := strings.ReplaceAll(strings.TrimSpace(name), `\`, "/")
	if strings.HasPrefix(s, "/") || strings.HasPrefix(s, "~") || strings.ContainsRune(s, 0) {
		return true
	}
	if len(s) > 2 && s[1] == ':' && s[2] == '/' {
		return true
	}
	for part := range strings.SplitSeq(s, "/") {
		if strings.TrimRight(part, " ") == ".." {
			return true
		}
	}
	return false
}
