package incognito

import (
	"encoding/json"
	"strings"
	"time"

	"comfylatch/internal/account"
	"comfylatch/internal/comfy"
)

// legacyClass is ComfyUI-Login's node. The companion node answers to that name
// too where ComfyUI-Login is gone, so that old workflows open.
const legacyClass = "LoadImageIncognito"

// Take lets a prompt use the private pictures that its nodes name: each must
// be who's own and unlocked for a run, which is this one. The error is a
// *comfy.PromptError, the same for every reason. ran must be called with
// whether ComfyUI took the prompt: then ciphertext goes where auto_delete is on.
func (r *Room) Take(prompt *comfy.PromptBody, who account.Principal) (ran func(accepted bool), err error) {
	keep := make(map[*picture]bool) // the ciphertext, after this run
	var nodes []comfy.Node
	var pictures []*picture
	for _, n := range prompt.Nodes() {
		value, _ := n.Inputs.Get(Input)
		handle, _ := value.(string) // anything else (a link, say) is no handle
		if n.Class != Class && !(n.Class == legacyClass && strings.HasPrefix(handle, handlePrefix)) {
			continue // a file of ComfyUI-Login's is room comfy's to look at
		}
		p, err := r.find(handle, who)
		if err != nil {
			return nil, gone(n)
		}
		nodes, pictures = append(nodes, n), append(pictures, p)
		keep[p] = keep[p] || !autoDelete(n)
	}
	if i := r.disarm(pictures); i >= 0 {
		return nil, gone(nodes[i])
	}
	return func(accepted bool) {
		if !accepted {
			r.arm(pictures)
			return
		}
		for p, keep := range keep {
			if !keep {
				r.deleteFile(p)
			}
		}
	}, nil
}

func gone(n comfy.Node) error {
	return &comfy.PromptError{Type: "private_picture", Message: "Choose the picture again",
		Details: "the private picture is not here, or not unlocked for this run", NodeID: n.ID, Class: n.Class}
}

// autoDelete is the node's switch: on, unless it says off as ComfyUI reads it.
func autoDelete(n comfy.Node) bool {
	v, _ := n.Inputs.Get("auto_delete")
	return v != false && v != json.Number("0")
}

// disarm uses all of them up for one run, or none: then it gives the index of
// one that is not unlocked, else -1.
func (r *Room) disarm(all []*picture) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, p := range all {
		if !p.armed {
			return i
		}
	}
	for _, p := range all {
		p.armed, p.touched = false, time.Now()
	}
	return -1
}

func (r *Room) arm(all []*picture) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range all {
		p.armed = true
	}
}
