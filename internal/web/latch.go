package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"comfylatch/internal/account"
)

// serveLatch answers everything under /_latch/. What is not for strangers
// says so here, line by line.
func (s *Site) serveLatch(w http.ResponseWriter, r *http.Request, v Visit) {
	path := strings.TrimPrefix(v.Req.Path(), "/_latch/")
	if file, ok := strings.CutPrefix(path, "static/"); ok {
		s.serveAsset(w, r, "static", file)
		return
	}
	switch path {
	case "api/browser-token":
		s.serveBrowserToken(w, r, v)
		return
	case "prefetch.json":
		s.servePrefetch(w, r)
		return
	case "join":
		s.serveJoin(w, r, v)
		return
	}
	if v.Who.Role == account.Anonymous {
		s.Unauthorized(w, r, v, nil)
		return
	}
	file, isApp := strings.CutPrefix(path, "app/")
	api, isAPI := strings.CutPrefix(path, "api/")
	action, isDo := strings.CutPrefix(path, "do/")
	switch {
	case isDo:
		s.serveDo(w, r, v, action)
	case isAPI && s.serveAPI(w, r, v, api), s.serveDesk(w, r, v, path):
	case path == "api/openapi.json":
		s.serveOpenAPI(w, r)
	case isApp:
		s.serveAsset(w, r, "app", file)
	case path == "api/me":
		s.serveMe(w, r, v)
	case s.opt.Pictures != nil && strings.HasPrefix(path+"/", "api/incognito/"):
		s.opt.Pictures(w, r, v.Req, v.Who)
	case path == "leave":
		s.serveLeave(w, r, v)
	default:
		s.fail(w, r, account.ErrNotFound)
	}
}

// servePrefetch lists the public files that the login page's script fetches
// while the password is typed: ["/assets/index-x.js", …].
func (s *Site) servePrefetch(w http.ResponseWriter, r *http.Request) {
	if !s.only(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	list := []string{}
	if s.opt.PublicPrefetch != nil {
		list = append(list, s.opt.PublicPrefetch()...)
	}
	writeJSON(w, http.StatusOK, list)
}

// serveMe answers GET /_latch/api/me: who am I? The extension in ComfyUI's
// page reads it.
func (s *Site) serveMe(w http.ResponseWriter, r *http.Request, v Visit) {
	if !s.only(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	who := s.visitor(v)
	writeJSON(w, http.StatusOK, struct {
		ID         string `json:"id"` // tells one somebody from another, and nothing else
		Name       string `json:"name"`
		Role       string `json:"role"`
		Guest      bool   `json:"guest"`
		Method     string `json:"method"`     // "session", "token", "api-key", "nothing"
		Login      string `json:"login"`      // path of the login page
		Logout     string `json:"logout"`     // path to POST to, "" where there is no session to end
		FreeMemory bool   `json:"freeMemory"` // tell us when the window closes
		Version    string `json:"version"`
		Account    string `json:"account"` // path of the account page, "" where there is none
		Admin      string `json:"admin"`   // path of the administration, "" for whom it is not
	}{account.NewSecret("me:" + v.Who.ID()).Hash()[:16], who.Name, who.Role, who.Guest, v.Who.Method.String(), "/login", logoutPath(v), s.opt.Leave != nil, s.opt.Version,
		s.pathFor(v, owns), s.pathFor(v, administers)})
}

// pathFor is the path of a page of ours, "" where the visitor may not see it.
func (s *Site) pathFor(v Visit, a access) string {
	switch {
	case s.opt.Desk == nil || !v.Who.Manages() || a == administers && v.Who.Role < account.Admin:
		return ""
	case a == administers:
		return "/_latch/admin"
	}
	return "/_latch/account"
}

func logoutPath(v Visit) string {
	if v.Who.Method == account.ByNothing { // --auth off
		return ""
	}
	return "/logout"
}

// serveLeave answers POST /_latch/leave: a window of ComfyUI has been closed
// or left alone. The body is {"clientId": "…"}, sent by navigator.sendBeacon.
func (s *Site) serveLeave(w http.ResponseWriter, r *http.Request, v Visit) {
	if !s.only(w, r, http.MethodPost) {
		return
	}
	var left struct {
		ClientID string `json:"clientId"`
	}
	if err := readJSON(w, r, &left); err != nil {
		s.fail(w, r, err)
		return
	}
	if !isClientID(left.ClientID) {
		s.fail(w, r, bad("The clientId is missing or malformed."))
		return
	}
	if s.opt.Leave != nil {
		s.opt.Leave(r.Context(), v.Who, left.ClientID)
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
}

// isClientID accepts what ComfyUI's clients use: short visible ASCII.
func isClientID(id string) bool {
	for i := 0; i < len(id); i++ {
		if id[i] <= ' ' || id[i] >= 0x7f {
			return false
		}
	}
	return id != "" && len(id) <= 128
}

// serveInject answers GET /auth_inject.js.
func (s *Site) serveInject(w http.ResponseWriter, r *http.Request) {
	s.serveAsset(w, r, "static", "auth_inject.js")
}

// Extensions adds our extension to ComfyUI's answer to GET /extensions, a JSON
// array of module addresses. The frontend imports each, behind the folder that
// its page was loaded from.
func (s *Site) Extensions(body []byte) ([]byte, error) {
	body = bytes.TrimSpace(body)
	if len(body) < 2 || body[0] != '[' || !json.Valid(body) {
		return nil, errors.New("add our extension: ComfyUI's list of extensions is not a JSON array")
	}
	entry, err := json.Marshal(s.assets.module("comfylatch.js"))
	if err != nil {
		return nil, err
	}
	list := bytes.TrimSpace(body[:len(body)-1])
	out := append(make([]byte, 0, len(body)+len(entry)+3), list...)
	if len(list) > 1 {
		out = append(out, ", "...)
	}
	out = append(out, entry...)
	return append(out, ']'), nil
}
