package standin

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strings"

	"github.com/coder/websocket"
)

// socket is one WebSocket connection. One goroutine reads it, one writes it; push hands frames
// to the writer.
type socket struct {
	conn *websocket.Conn
	out  chan frame
	cut  context.CancelFunc
}

// push queues a frame. A socket that has fallen too far behind is cut off, so that it cannot
// make the worker wait.
func (k *socket) push(f frame) {
	select {
	case k.out <- f:
	default:
		k.cut()
	}
}

// getWS is GET /ws?clientId=. The client id is taken as it comes: whoever knows another
// client's id gets its events.
func (s *Server) getWS(w http.ResponseWriter, r *http.Request, _ []string) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		text(w, http.StatusBadRequest, "No WebSocket UPGRADE hdr: None\n Can \"Upgrade\" only to \"WebSocket\".")
		return
	}
	sid, _ := query(r, "clientId")
	if sid == "" {
		sid = newHex()
	}
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // the origin check has been made for every request
		CompressionMode:    websocket.CompressionNoContextTakeover,
	})
	if err != nil {
		return // Accept has answered
	}
	s.sockets.Add(1)
	defer s.sockets.Done()
	defer conn.CloseNow()
	conn.SetReadLimit(-1)

	ctx, cancel := context.WithCancel(s.base)
	defer cancel()
	k := &socket{conn: conn, out: make(chan frame, backlog), cut: cancel}
	s.greet(sid, k)
	written := make(chan struct{})
	go func() {
		defer close(written)
		defer cancel()
		k.write(ctx)
	}()
	s.listen(ctx, sid, k)
	s.hub.remove(sid) // sic: even when another socket has taken the id over meanwhile
	cancel()
	<-written
}

// greet registers the socket and queues its first frames.
func (s *Server) greet(sid string, k *socket) {
	status := obj("status", execInfo(s.queue.remaining()), "sid", sid)
	k.push(event("status", status))
	if last, ok := s.queue.lastNode(sid); ok {
		k.push(event("executing", obj("node", last)))
	}
	s.hub.add(sid, k)
}

func (k *socket) write(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-k.out:
			kind := websocket.MessageText
			if f.binary {
				kind = websocket.MessageBinary
			}
			if k.conn.Write(ctx, kind, f.data) != nil {
				return
			}
		}
	}
}

// listen reads until the client leaves. Only the first message may matter: the client's
// feature flags, answered with ours.
func (s *Server) listen(ctx context.Context, sid string, k *socket) {
	for first := true; ; first = false {
		kind, data, err := k.conn.Read(ctx)
		if err != nil {
			return
		}
		if !first || kind != websocket.MessageText {
			continue
		}
		v, err := parse(bytes.NewReader(data))
		msg, _ := v.(*object)
		if err != nil || msg.str("type") != "feature_flags" {
			continue
		}
		wants, _ := msg.object("data").get("supports_preview_metadata")
		s.hub.setPreviewMetadata(sid, wants == true)
		k.push(event("feature_flags", s.features()))
	}
}

// newHex is Python's uuid4().hex.
func newHex() string { return strings.ReplaceAll(newUUID(), "-", "") }

func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails (crypto/rand, since Go 1.24)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
