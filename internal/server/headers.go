package server

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"comfylatch/internal/comfy"
)

// recorder notes the status, and adds security headers just before the header
// goes out, so that nothing ComfyUI sends can do without them.
type recorder struct {
	http.ResponseWriter
	x       *exchange
	status  int
	started time.Time
	answer  time.Time // when the answer began
}

func (w *recorder) began() time.Time { return w.answer }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status, w.answer = status, time.Now()
		secureHeaders(w.Header(), w.x, status)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(p)
}

// ReadFrom lets a large body go from connection to connection in the kernel.
func (w *recorder) ReadFrom(r io.Reader) (int64, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return io.Copy(w.ResponseWriter, r)
}

// Unwrap lets http.ResponseController reach deadlines and flushing.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Hijack is for sockets, whose answer does not go through WriteHeader.
func (w *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.status, w.answer = http.StatusSwitchingProtocols, time.Now()
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// appPolicy is the content policy under which ComfyUI's frontend is known to
// work: 1.27 and 1.45 compile code at start (so unsafe-eval), have inline
// script and style, and show pictures from blobs. The two hosts are those that
// the frontend asks for releases and for the size of missing models.
const appPolicy = "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; " +
	"img-src 'self' data: blob: https:; font-src 'self' data:; media-src 'self' data: blob:; worker-src 'self' blob:; " +
	"connect-src 'self' data: blob: https:; frame-src 'self' https:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"

// filePolicy is for files that people uploaded or that a workflow made: they
// are shown, but run nothing (ComfyUI CVE-2024-10099, CVE-2026-56670).
const filePolicy = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; media-src 'self' data:; frame-ancestors 'self'"

// Values of every answer, made once.
var noSniff, sameOrigin, private = []string{"nosniff"}, []string{"same-origin"}, []string{"private"}

func secureHeaders(h http.Header, x *exchange, status int) {
	h["X-Content-Type-Options"] = noSniff
	if status == http.StatusNotFound && x.req != nil && strings.HasSuffix(x.req.Path(), ".css") {
		// ComfyUI's page asks for two user.css that are seldom there. To the 404
		// of another kind a browser would add that nosniff forbids its use.
		h.Set("Content-Type", "text/css; charset=utf-8")
	}
	if x.peer.secure {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
	if h.Get("Referrer-Policy") == "" {
		h["Referrer-Policy"] = sameOrigin
	}
	if x.req != nil && x.req.Least() != comfy.Public {
		keepPrivate(h)
	}
	if x.req == nil || h.Get("Content-Security-Policy") != "" && ours(x.req.Route.Answer) {
		return
	}
	if servesFiles(x.req) {
		h.Set("Content-Security-Policy", filePolicy)
		if active(h.Get("Content-Type")) {
			h.Set("Content-Disposition", "attachment")
		}
		return
	}
	// The policy is a page's: on scripts and JSON it would only cost bytes, and
	// to 304 a browser has it already.
	if kind := h.Get("Content-Type"); kind == "" && status != http.StatusNotModified || strings.Contains(kind, "html") || strings.Contains(kind, "xml") {
		h.Set("Content-Security-Policy", appPolicy)
		h.Set("X-Frame-Options", "SAMEORIGIN")
	}
}

// keepPrivate keeps what needs a credential out of caches that several people
// share: ComfyUI marks pictures "public", in /userdata too.
func keepPrivate(h http.Header) {
	if len(h["Cache-Control"]) == 0 {
		h["Cache-Control"] = private
		return
	}
	kept := []string{"private"}
	for _, line := range h.Values("Cache-Control") {
		for d := range strings.SplitSeq(line, ",") {
			d = strings.TrimSpace(d)
			switch name, _, _ := strings.Cut(strings.ToLower(d), "="); name {
			case "public", "private", "s-maxage", "":
			case "no-store":
				return
			default:
				kept = append(kept, d)
			}
		}
	}
	h.Set("Cache-Control", strings.Join(kept, ", "))
}

func ours(a comfy.Answer) bool {
	switch a {
	case comfy.Login, comfy.Logout, comfy.HealthPage, comfy.GuestMode, comfy.AuthLogin, comfy.AuthInject, comfy.Latch:
		return true
	}
	return false
}

// servesFiles tells the routes that give out what people put in. user.css is
// the one such file that the frontend uses as part of its page.
func servesFiles(r *comfy.Request) bool {
	if len(r.Segments) == 0 {
		return false
	}
	switch r.Segments[0] {
	case "view", "viewvideo", "vhs", "etn":
		return true
	case "userdata":
		return len(r.Segments) > 1 && r.Segments[1] != "user.css"
	case "assets":
		return r.Twins > 0
	}
	return false
}

// active tells content that a browser would run as a page of this origin.
// Pictures, sound, film, plain text and JSON are not; what is not known is.
func active(contentType string) bool {
	kind, _, _ := strings.Cut(strings.ToLower(contentType), ";")
	kind = strings.TrimSpace(kind)
	switch {
	case kind == "image/svg+xml":
		return true
	case strings.HasPrefix(kind, "image/"), strings.HasPrefix(kind, "audio/"), strings.HasPrefix(kind, "video/"):
		return false
	case kind == "", kind == "text/plain", kind == "application/json":
		return false
	}
	return true
}

// patientBody reads a visitor's body, as long as something comes each minute.
type patientBody struct {
	io.ReadCloser
	conn    *http.ResponseController
	until   time.Time // no longer than this, if set
	stopped atomic.Bool
}

func patient(w http.ResponseWriter, r *http.Request) *patientBody {
	body := r.Body
	if b, ok := body.(*patientBody); ok {
		body = b.ReadCloser // its time was a stranger's
	}
	return &patientBody{ReadCloser: body, conn: http.NewResponseController(w)}
}

// hurry gives a request's body a fixed time. It holds until somebody known is
// read from patiently, and for what is left unread: a stranger may drip it.
func (s *Server) hurry(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		b := patient(w, r)
		b.until = time.Now().Add(s.Times.Form)
		b.conn.SetReadDeadline(b.until)
		r.Body = b
	}
}

// unreadable is the status for a body that could not be read.
func unreadable(err error) int {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return http.StatusRequestTimeout
	}
	return http.StatusRequestEntityTooLarge
}

func (b *patientBody) Read(p []byte) (int, error) {
	if !b.stopped.Load() {
		end := time.Now().Add(bodyTime)
		if !b.until.IsZero() && b.until.Before(end) {
			end = b.until
		}
		b.conn.SetReadDeadline(end)
	}
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF && !b.stopped.Load() {
		// The server goes on listening for the visitor's leaving: an answer
		// may take longer than a body may be silent.
		b.conn.SetReadDeadline(time.Time{})
	}
	return n, err
}

// stop ends a Read that is under way in another goroutine.
func (b *patientBody) stop() {
	b.stopped.Store(true)
	b.conn.SetReadDeadline(time.Now())
}
