package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"

	"comfylatch/internal/comfy"
	"comfylatch/internal/upstream"
)

// refuse answers with the error shape that ComfyUI's clients know from its
// own plain refusals. why is shown to the visitor.
func refuse(w http.ResponseWriter, status int, why string) {
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Del("Content-Length")
	w.WriteHeader(status)
	body, _ := json.Marshal(map[string]string{"error": why}) // a map of strings always marshals
	w.Write(append(body, '\n'))
}

// refuseHeaders answers where outHeader gave an error.
func refuseHeaders(w http.ResponseWriter) {
	refuse(w, http.StatusBadRequest, "The request's headers can be read in two ways.")
}

// hangUp ends the client's connection after the answer, because what is left
// of the request is not read. Over HTTP/2 the stream ends by itself.
func hangUp(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
}

// wantsPage tells whether a person is going to a page, and not a script or an
// image.
func wantsPage(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}

// fail answers for a ComfyUI that did not. The cause goes to the log only.
func (p *Proxy) fail(w http.ResponseWriter, r *http.Request, req *comfy.Request, err error) {
	var ne net.Error
	var large *http.MaxBytesError
	switch {
	case errors.Is(err, errBodyStalled):
		hangUp(w, r)
		refuse(w, http.StatusRequestTimeout, "The upload stood still for too long.")
		return
	case errors.As(err, &large):
		hangUp(w, r)
		refuse(w, http.StatusRequestEntityTooLarge, "The upload is too large.")
		return
	case errors.Is(err, errBodyBroken):
		hangUp(w, r)
		refuse(w, http.StatusBadRequest, "The request ended too early.")
		return
	case r.Context().Err() != nil || errors.Is(err, context.Canceled):
		// The client is gone: nobody reads an answer.
		panic(http.ErrAbortHandler)
	case errors.Is(err, upstream.ErrUnavailable):
		p.unavailable(w, r)
		return
	case errors.As(err, &ne) && ne.Timeout():
		p.logFailure(req, err)
		refuse(w, http.StatusGatewayTimeout, "ComfyUI took too long to answer.")
		return
	}
	p.logFailure(req, err)
	refuse(w, http.StatusBadGateway, "ComfyUI's answer was cut off. Whether it did what was asked is not known.")
}

func (p *Proxy) logFailure(req *comfy.Request, err error) {
	p.log.Warn("request to ComfyUI failed", "method", req.Method, "path", req.Path(), "error", err)
}

// unavailable answers for a ComfyUI that is not there: 503 while it starts,
// 502 while it is down.
func (p *Proxy) unavailable(w http.ResponseWriter, r *http.Request) {
	state := p.up.State()
	if p.opts.Unavailable != nil && wantsPage(r) {
		p.opts.Unavailable(w, r, state)
		return
	}
	w.Header().Set("Retry-After", "2")
	if state == upstream.Starting {
		refuse(w, http.StatusServiceUnavailable, "ComfyUI is starting. Try again in a moment.")
		return
	}
	refuse(w, http.StatusBadGateway, "ComfyUI does not answer. Try again in a moment.")
}
