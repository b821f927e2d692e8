package server

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"

	"comfylatch/internal/account"
	"comfylatch/internal/cache"
)

const maxCapture = 64 << 20 // bytes of an answer that is changed on its way

// capture holds an answer of ComfyUI's back, to be changed before it goes on.
type capture struct {
	header http.Header
	status int
	body   bytes.Buffer
	answer time.Time // when the answer began
}

func (c *capture) began() time.Time { return c.answer }

func (c *capture) Header() http.Header { return c.header }

func (c *capture) WriteHeader(status int) {
	if c.status == 0 && status >= 200 {
		c.status, c.answer = status, time.Now()
	}
}

func (c *capture) Write(p []byte) (int, error) {
	c.WriteHeader(http.StatusOK)
	if c.body.Len()+len(p) > maxCapture {
		panic(http.ErrAbortHandler) // upstream answers with what cannot be ours to hold
	}
	return c.body.Write(p)
}

// ask passes the request on and gives the answer back instead of sending it:
// whole, not compressed and not conditional.
func (s *Server) ask(r *http.Request, x *exchange) *capture {
	c := &capture{header: make(http.Header)}
	r2 := r.Clone(r.Context())
	for _, h := range []string{"Accept-Encoding", "Range", "If-None-Match", "If-Modified-Since", "If-Range", "If-Match", "If-Unmodified-Since"} {
		r2.Header.Del(h)
	}
	req := *x.req
	if req.Method == http.MethodHead {
		req.Method, r2.Method = http.MethodGet, http.MethodGet
	}
	s.comfyUI(c, r2, &req, x)
	return c
}

// send writes a changed answer. change is not asked about errors.
func (c *capture) send(w http.ResponseWriter, r *http.Request, change func([]byte) ([]byte, error)) error {
	body := c.body.Bytes()
	if c.status == http.StatusOK && change != nil {
		var err error
		if body, err = change(body); err != nil {
			return err
		}
		for _, h := range []string{"Etag", "Last-Modified", "Accept-Ranges"} {
			c.header.Del(h) // they speak of the bytes that we changed
		}
		c.header.Set("Cache-Control", "private, no-cache")
	}
	for k, v := range c.header {
		if k != "Content-Length" && k != "Transfer-Encoding" {
			w.Header()[k] = v
		}
	}
	w.WriteHeader(c.status)
	if r.Method != http.MethodHead {
		w.Write(body)
	}
	return nil
}

// extensions adds our script to ComfyUI's list, by which its page loads it.
// Where the list has another shape it goes on as it is.
func (s *Server) extensions(w http.ResponseWriter, r *http.Request, x *exchange) {
	if e, err := s.Cache.Get(r.Context(), x.req.Target(), cache.Checked); err == nil {
		if body, err := e.Body(); err == nil {
			if list, err := s.Site.Extensions(body); err == nil {
				w.Header().Set("Content-Type", "application/json; charset=utf-8")
				w.Header().Set("Cache-Control", cache.Private)
				w.Write(list)
				return
			}
		}
	}
	c := s.ask(r, x)
	err := c.send(w, r, s.Site.Extensions)
	if err != nil {
		s.Log.Warn("ComfyUI's list of extensions could not be read: the Account menu is missing", "err", err)
		c.send(w, r, nil)
	}
}

// blank gives guests what a fresh installation would answer: they neither see
// nor change what others have saved.
func (s *Server) blank(w http.ResponseWriter, r *http.Request, x *exchange) {
	if x.who.Role != account.Guest {
		s.pass(w, r, x)
		return
	}
	var v any = []string{}
	switch {
	case x.req.Segments[0] == "settings" && len(x.req.Segments) == 1:
		// A visitor who has seen the tour, so that the graph stands at once.
		v = map[string]any{"Comfy.TutorialCompleted": true}
	case x.req.Segments[0] == "settings":
		v = nil
	}
	answerJSON(w, http.StatusOK, v)
}

func answerJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // only values of ours, which can all be written
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(body)
}
