package standin

import (
	"encoding/binary"
	"sync"
)

// frame is one message for a socket.
type frame struct {
	binary bool
	data   []byte
}

// client is the client_id of a prompt. ComfyUI tells "none given" apart from "given but
// connected nowhere": events of the former are partly broadcast, of the latter dropped.
type client struct {
	given bool
	sid   string
}

// hub knows who listens. As in ComfyUI there is one socket per client id: a second one replaces
// the first, and when the first closes it takes the second's registration with it.
type hub struct {
	mu      sync.Mutex
	sockets map[string]*socket
	meta    map[string]bool // sid → negotiated supports_preview_metadata
	logs    map[string]bool // sid → subscribed to the log
}

const backlog = 4096 // frames a socket may lag behind before it is cut off

func (h *hub) init() {
	h.sockets, h.meta, h.logs = map[string]*socket{}, map[string]bool{}, map[string]bool{}
}

func (h *hub) add(sid string, k *socket) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sockets[sid] = k
	delete(h.meta, sid)
}

func (h *hub) remove(sid string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.sockets, sid)
	delete(h.meta, sid)
	delete(h.logs, sid)
}

func (h *hub) setPreviewMetadata(sid string, on bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.meta[sid] = on
}

func (h *hub) wantsPreviewMetadata(c client) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return c.given && h.meta[c.sid]
}

func (h *hub) subscribeLogs(sid string, on bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if on {
		h.logs[sid] = true
	} else {
		delete(h.logs, sid)
	}
}

func (h *hub) logSubscribers() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return keys(h.logs)
}

func keys(m map[string]bool) []string {
	var all []string
	for k := range m {
		all = append(all, k)
	}
	return all
}

// broadcast sends to every registered socket.
func (h *hub) broadcast(f frame) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, k := range h.sockets {
		k.push(f)
	}
}

// send sends to one client id; nothing happens when it is not connected.
func (h *hub) send(sid string, f frame) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if k := h.sockets[sid]; k != nil {
		k.push(f)
	}
}

// deliver sends to the prompt's client, or to everybody when it gave none.
func (h *hub) deliver(c client, f frame) {
	if c.given {
		h.send(c.sid, f)
	} else {
		h.broadcast(f)
	}
}

// broadcastStatus tells everybody how many prompts run or wait.
func (h *hub) broadcastStatus(remaining int) {
	h.broadcast(event("status", obj("status", execInfo(remaining))))
}

func execInfo(remaining int) *object {
	return obj("exec_info", obj("queue_remaining", remaining))
}

// event makes a text frame {"type", "data"}.
func event(kind string, data *object) frame {
	return frame{data: dumps(obj("type", kind, "data", data))}
}

// The binary event types, the first four bytes of a frame (big endian).
const (
	binaryPreview         = 1 // [1][format: 1 JPEG, 2 PNG][image]
	binaryPreviewMetadata = 4 // [4][length of JSON][JSON][image]
)

// previewWithMetadata sends an image in the new form.
func (h *hub) previewWithMetadata(sid, promptID, node, mime string, img []byte) {
	meta := dumps(obj("node_id", node, "prompt_id", promptID, "display_node_id", node, "parent_node_id", nil, "real_node_id", node, "image_type", mime))
	b := binary.BigEndian.AppendUint32(nil, binaryPreviewMetadata)
	b = binary.BigEndian.AppendUint32(b, uint32(len(meta)))
	h.send(sid, frame{binary: true, data: append(append(b, meta...), img...)})
}

// preview sends an image in the old form, to everybody when the prompt has no client.
func (h *hub) preview(c client, mime string, img []byte) {
	format := uint32(1)
	if mime == "image/png" {
		format = 2
	}
	b := binary.BigEndian.AppendUint32(nil, binaryPreview)
	b = binary.BigEndian.AppendUint32(b, format)
	h.deliver(c, frame{binary: true, data: append(b, img...)})
}
