package web

import (
	_ "embed"
	"net/http"
)

// The description of the JSON API. A test holds it to the code.
//
//go:embed openapi.json
var openAPI []byte

func (s *Site) serveOpenAPI(w http.ResponseWriter, r *http.Request) {
	if !s.only(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)
	w.Write(openAPI)
}
