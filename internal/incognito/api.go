package incognito

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"comfylatch/internal/account"
	"comfylatch/internal/comfy"
)

// Prefix is where the HTTP API is. docs/incognito.md describes it.
//
//	GET    …                {"max": BYTES, "piece": BYTES}
//	POST   …                {"size": BYTES} of ciphertext → 201 {"handle": "…"}
//	PUT    …/{handle}?at=N  the bytes from N on → {"at": M}; 409 {"at": M} where N is not next
//	POST   …/{handle}/unlock {"key": BASE64} → {"handle": "…"}, good for one prompt
//	DELETE …/{handle}       204
const Prefix = "/_latch/api/incognito"

const (
	maxPiece  = 8 << 20 // bytes in one PUT
	goodPiece = sealedSize
	pieceTime = time.Minute // without a byte
)

// ServeHTTP answers for somebody known, under Prefix.
func (r *Room) ServeHTTP(w http.ResponseWriter, req *http.Request, path *comfy.Request, who account.Principal) {
	rest := strings.Split(strings.TrimPrefix(path.Path(), Prefix), "/")
	handle, verb := "", ""
	if len(rest) > 1 {
		handle = rest[1]
	}
	if len(rest) > 2 {
		verb = strings.Join(rest[2:], "/")
	}
	get := req.Method == http.MethodGet || req.Method == http.MethodHead
	switch {
	case rest[0] != "" || path.Slash:
		answer(w, http.StatusNotFound, map[string]any{"error": "There is nothing here."})
	case handle == "" && get:
		answer(w, http.StatusOK, map[string]any{"max": r.limit.get(req.Context(), r.opt.Upstream), "piece": goodPiece})
	case handle == "" && req.Method == http.MethodPost:
		r.serveBegin(w, req, who)
	case handle != "" && verb == "" && req.Method == http.MethodPut:
		r.servePiece(w, req, path, handle, who)
	case verb == "unlock" && req.Method == http.MethodPost:
		r.serveUnlock(w, req, handle, who)
	case handle != "" && verb == "" && req.Method == http.MethodDelete:
		r.forget(req.Context(), handle, who)
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusNoContent)
	default:
		answer(w, http.StatusMethodNotAllowed, map[string]any{"error": "This is not one of the ways to use it."})
	}
}

func (r *Room) serveBegin(w http.ResponseWriter, req *http.Request, who account.Principal) {
	var ask struct {
		Size int64 `json:"size"`
	}
	if !readJSON(w, req, &ask) {
		return
	}
	p, err := r.begin(req.Context(), ask.Size, who)
	if err != nil {
		r.fail(w, req, err)
		return
	}
	answer(w, http.StatusCreated, map[string]any{"handle": p.handle})
}

func (r *Room) servePiece(w http.ResponseWriter, req *http.Request, path *comfy.Request, handle string, who account.Principal) {
	text, _ := path.Value("at")
	at, err := strconv.ParseInt(text, 10, 64)
	if err != nil || at < 0 {
		closeUnread(w)
		answer(w, http.StatusBadRequest, map[string]any{"error": "at is the number of the first byte."})
		return
	}
	n, err := r.write(handle, at, body(w, req, maxPiece), who)
	if err != nil {
		closeUnread(w)
		r.fail(w, req, err)
		return
	}
	answer(w, http.StatusOK, map[string]any{"at": n})
}

func (r *Room) serveUnlock(w http.ResponseWriter, req *http.Request, handle string, who account.Principal) {
	var ask struct {
		Key []byte `json:"key"` // base64 in JSON, so it never is a string here
	}
	defer func() { clear(ask.Key) }()
	if !readJSON(w, req, &ask) {
		return
	}
	if err := r.unlock(req.Context(), handle, ask.Key, who); err != nil {
		r.fail(w, req, err)
		return
	}
	answer(w, http.StatusOK, map[string]any{"handle": handle})
}

// fail is the one place where errors become answers.
func (r *Room) fail(w http.ResponseWriter, req *http.Request, err error) {
	var place *placeError
	var size *sizeError
	var large *http.MaxBytesError
	switch {
	case errors.Is(err, ErrGone):
		answer(w, http.StatusGone, map[string]any{"error": "Choose the picture again."})
	case errors.As(err, &place):
		answer(w, http.StatusConflict, map[string]any{"error": "This is not the next piece.", "at": place.at})
	case errors.As(err, &size):
		answer(w, http.StatusRequestEntityTooLarge, map[string]any{"error": "The picture is empty or too large.", "max": size.limit})
	case errors.As(err, &large):
		answer(w, http.StatusRequestEntityTooLarge, map[string]any{"error": "The piece is too large.", "piece": goodPiece})
	case errors.Is(err, errFull):
		answer(w, http.StatusInsufficientStorage, map[string]any{"error": "There is no room for more private pictures at the moment."})
	case errors.Is(err, errNoNode), errors.Is(err, errSecret):
		r.opt.Log.Warn("a private picture cannot be used", "err", err)
		answer(w, http.StatusServiceUnavailable, map[string]any{"error": "The companion node is not installed in ComfyUI, or not for this gate. comfylatch doctor says how to get it."})
	case errors.Is(err, errMemory), errors.Is(err, errNoAnswer):
		answer(w, http.StatusServiceUnavailable, map[string]any{"error": "ComfyUI cannot take the picture at the moment. Try again in a while."})
	case req.Context().Err() != nil:
		answer(w, http.StatusRequestTimeout, map[string]any{"error": "The upload stood still."})
	default:
		r.opt.Log.Error("a private picture could not be kept", "err", err)
		answer(w, http.StatusServiceUnavailable, map[string]any{"error": "This did not work, and it is not your fault. Please try again in a moment."})
	}
}

// readJSON reads a small body, and wipes it: a key may stand in it.
func readJSON(w http.ResponseWriter, req *http.Request, into any) bool {
	var small [1024]byte
	defer clear(small[:])
	n, err := io.ReadFull(body(w, req, int64(len(small))), small[:])
	if err != io.EOF && err != io.ErrUnexpectedEOF || json.Unmarshal(small[:n], into) != nil {
		closeUnread(w)
		answer(w, http.StatusBadRequest, map[string]any{"error": "The body is not what this takes."})
		return false
	}
	return true
}

// movingBody refuses a body that stands still, not one that is slow.
type movingBody struct {
	io.Reader
	conn *http.ResponseController
}

func body(w http.ResponseWriter, req *http.Request, limit int64) io.Reader {
	return &movingBody{http.MaxBytesReader(w, req.Body, limit), http.NewResponseController(w)}
}

func (b *movingBody) Read(p []byte) (int, error) {
	_ = b.conn.SetReadDeadline(time.Now().Add(pieceTime))
	n, err := b.Reader.Read(p)
	if err != nil {
		_ = b.conn.SetReadDeadline(time.Time{}) // the answer may take its time
	}
	return n, err
}

// closeUnread ends the connection after an answer that leaves a body unread.
func closeUnread(w http.ResponseWriter) { w.Header().Set("Connection", "close") }

func answer(w http.ResponseWriter, status int, v map[string]any) {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // only values of ours, which can all be written
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(text)
}
