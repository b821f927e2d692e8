package server

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"

	"comfylatch/internal/account"
	"comfylatch/internal/comfy"
	"comfylatch/internal/isolate"
)

// own answers the routes where a guest gets what is theirs and others get
// everything.
func (s *Server) own(w http.ResponseWriter, r *http.Request, x *exchange) {
	if x.req.Segments[0] == "system_stats" && x.who.Role < account.Admin {
		s.rewrite(w, r, x, isolate.Stats)
		return
	}
	if x.who.Role != account.Guest {
		s.pass(w, r, x)
		return
	}
	if x.req.Method == http.MethodPost {
		s.ownAct(w, r, x)
		return
	}
	keep := func(id string) bool { return s.ledger.Owns(id, x.who.ID()) }
	switch x.req.Route.Pattern {
	case "/queue":
		s.rewrite(w, r, x, func(b []byte) ([]byte, error) { return isolate.Queue(b, keep) })
	case "/history", "/history/{id}":
		s.rewrite(w, r, x, func(b []byte) ([]byte, error) { return isolate.History(b, keep) })
	case "/jobs":
		s.rewrite(w, r, x, func(b []byte) ([]byte, error) { return isolate.Jobs(b, keep) })
	case "/jobs/{id}":
		if !keep(x.req.Segments[1]) {
			answerJSON(w, http.StatusNotFound, map[string]string{"error": "Job not found"})
			return
		}
		s.pass(w, r, x)
	case "/view":
		if !mayView(x) {
			s.forbid(w, r, x, "Guests can see the pictures that they made, and those that a workflow begins with.")
			return
		}
		s.pass(w, r, x)
	case "/system_stats":
		s.rewrite(w, r, x, isolate.Stats)
	default: // a new line of the table that this forgot: nobody's, so refused
		s.forbid(w, r, x, "Guests can look and generate, but not this.")
	}
}

func (s *Server) forbid(w http.ResponseWriter, r *http.Request, x *exchange, reason string) {
	x.refusal = reason
	closeUnread(w, r)
	s.Site.Forbidden(w, r, x.visit(), reason)
}

// rewrite changes an answer on its way. One that cannot be read is not sent:
// it may hold what is not the visitor's.
func (s *Server) rewrite(w http.ResponseWriter, r *http.Request, x *exchange, change func([]byte) ([]byte, error)) {
	if err := s.ask(r, x).send(w, r, change); err != nil {
		s.Log.Warn("an answer of ComfyUI's was held back", "id", x.id, "err", err)
		x.refusal = "unreadable answer"
		answerJSON(w, http.StatusBadGateway, map[string]string{"error": "ComfyUI's answer could not be read."})
	}
}

// mayView tells whether a guest may look at a file. An annotation in the name
// ("a.png [output]") beats the type in ComfyUI, and of a name with slashes it
// takes what stands behind the last (server.py, view_image): the folder must
// stand in subfolder.
func mayView(x *exchange) bool {
	name, _ := x.req.Value("filename")
	kind, ok := x.req.Value("type")
	if !ok {
		kind = "output"
	}
	sub, _ := x.req.Value("subfolder")
	return mayReadFile(x.who, name, sub, kind)
}

// mayReadFile is for the two routes that take a file in three parts.
func mayReadFile(who account.Principal, name, sub, kind string) bool {
	name, annotated := comfy.CutAnnotation(name)
	if strings.Contains(name, "/") {
		return false
	}
	if sub != "" {
		name = sub + "/" + name
	}
	return isolate.MayRead(who, cmp.Or(annotated, kind), name)
}

// ownAct lets a guest end their own prompts: what names another's, or
// everybody's, is narrowed down to their own before ComfyUI sees it.
func (s *Server) ownAct(w http.ResponseWriter, r *http.Request, x *exchange) {
	body, err := io.ReadAll(http.MaxBytesReader(w, patient(w, r), 1<<20))
	if err != nil {
		s.Site.BadRequest(w, r, "The request is too large.")
		return
	}
	var ask struct {
		Clear    bool     `json:"clear"`
		Delete   []string `json:"delete"`
		PromptID string   `json:"prompt_id"`
	}
	if len(bytes.TrimSpace(body)) > 0 {
		if _, err := comfy.ParseJSON(body); err != nil || json.Unmarshal(body, &ask) != nil {
			s.Site.BadRequest(w, r, "The body is not what this takes.")
			return
		}
	}
	keep := func(id string) bool { return s.ledger.Owns(id, x.who.ID()) }
	running, pending, err := s.queued(r, x)
	if err != nil {
		answerJSON(w, http.StatusBadGateway, map[string]string{"error": "ComfyUI's queue could not be read."})
		return
	}
	var send any
	switch x.req.Segments[0] {
	case "interrupt":
		ids := slices.DeleteFunc(running, func(id string) bool { return !keep(id) || ask.PromptID != "" && id != ask.PromptID })
		if len(ids) == 0 {
			w.WriteHeader(http.StatusOK) // as ComfyUI answers when nothing runs
			return
		}
		send = map[string]string{"prompt_id": ids[0]}
	case "queue":
		ids := ask.Delete
		if ask.Clear {
			ids = pending
		}
		send = map[string][]string{"delete": mine(ids, keep)}
	default: // history: clearing everything is left out, as the guest's own is not known from here
		send = map[string][]string{"delete": mine(ask.Delete, keep)}
	}
	out, _ := json.Marshal(send) // strings only: cannot fail
	s.comfyUI(w, withBody(r, out), x.req, x)
}

func mine(ids []string, keep isolate.Keep) []string {
	own := []string{}
	for _, id := range ids {
		if keep(id) {
			own = append(own, id)
		}
	}
	return own
}

// queued asks ComfyUI which prompts run and wait.
func (s *Server) queued(r *http.Request, x *exchange) (running, pending []string, err error) {
	req, err := comfy.Parse(http.MethodGet, "/queue")
	if err != nil {
		return nil, nil, err
	}
	get := r.Clone(r.Context())
	get.Method, get.Body, get.ContentLength = http.MethodGet, http.NoBody, 0
	y := *x
	y.req = req
	c := s.ask(get, &y)
	return isolate.QueueIDs(c.body.Bytes())
}

// withBody gives a request another body, as JSON.
func withBody(r *http.Request, body []byte) *http.Request {
	out := r.Clone(r.Context())
	out.Body = io.NopCloser(bytes.NewReader(body))
	out.ContentLength = int64(len(body))
	out.TransferEncoding = nil
	out.Header.Set("Content-Type", "application/json")
	out.Header.Del("Content-Encoding")
	return out
}
