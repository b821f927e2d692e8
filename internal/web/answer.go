package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"comfylatch/internal/account"
)

// message is the page that says no, or not yet.
type message struct {
	Title  string
	Text   string
	Poll   bool   // wait for ComfyUI and come back by itself
	Link   string // where to go from here; "" for nowhere
	LinkTo string // what stands on the link
}

// Unauthorized answers a stranger who came to a place that needs a credential.
// err says why they are one: nil or account.ErrNoCredentials where none was
// given. Browsers that are going to a page are sent to the login; everything
// else gets 401, 429 or 400 as JSON.
func (s *Site) Unauthorized(w http.ResponseWriter, r *http.Request, v Visit, err error) {
	if err == nil {
		err = account.ErrNoCredentials
	}
	none := errors.Is(err, account.ErrNoCredentials) || errors.Is(err, account.ErrExpired) || errors.Is(err, account.ErrSetUpNeeded)
	if none && isGet(r) && wantsPage(r) {
		redirect(w, http.StatusFound, "/login?next="+url.QueryEscape(here(v)))
		return
	}
	if none || errors.Is(err, account.ErrBadCredentials) && !wantsPage(r) {
		err = account.ErrNoCredentials // one answer for programs, whatever the cause
	}
	s.fail(w, r, err)
}

// here is the path and query of the visit, as a place to come back to. The
// query's credentials, if the server has left any, are not in it.
func here(v Visit) string {
	if v.Req == nil {
		return "/"
	}
	req := *v.Req
	req.Query = slices.Clone(req.Query)
	req.DropQuery("token")
	req.DropQuery("api_key")
	return SafeNext(req.Target())
}

// Forbidden answers somebody known who may not do this. The reason is a
// sentence for the visitor. A prompt is refused in ComfyUI's own error shape,
// so that its frontend shows the sentence.
func (s *Site) Forbidden(w http.ResponseWriter, r *http.Request, v Visit, reason string) {
	switch {
	case wantsPage(r):
		m := message{Title: "Not open to you", Text: reason, Link: "/", LinkTo: "Back to ComfyUI"}
		if v.Who.Role == account.Guest {
			m.Link, m.LinkTo = "/login?next="+url.QueryEscape(here(v)), "Log in"
		}
		s.say(w, http.StatusForbidden, m)
	case r.Method == http.MethodPost && v.Req != nil && v.Req.Path() == "/prompt":
		type refusal struct {
			Type      string   `json:"type"`
			Message   string   `json:"message"`
			Details   string   `json:"details"`
			ExtraInfo struct{} `json:"extra_info"`
		}
		writeJSON(w, http.StatusForbidden, map[string]any{
			"error":       refusal{Type: "forbidden", Message: "This is not allowed here.", Details: reason},
			"node_errors": struct{}{},
		})
	default:
		writeJSON(w, http.StatusForbidden, map[string]string{"error": reason})
	}
}

// BadRequest answers a request that cannot be read in one way only.
func (s *Site) BadRequest(w http.ResponseWriter, r *http.Request, reason string) {
	s.refuse(w, r, fault{status: http.StatusBadRequest, text: reason})
}

// Unavailable answers for ComfyUI while it starts (503) or does not answer
// (502). The page looks again by itself until ComfyUI is there.
func (s *Site) Unavailable(w http.ResponseWriter, r *http.Request, starting bool) {
	m := message{Title: "ComfyUI does not answer", Poll: true, Link: "/", LinkTo: "Try now",
		Text: "The gate is up, but ComfyUI behind it is not reachable. This page comes back by itself as soon as it is."}
	status := http.StatusBadGateway
	if starting {
		m.Title = "ComfyUI is starting"
		m.Text = "This takes a moment, longer where many custom nodes are installed. The page opens by itself."
		status = http.StatusServiceUnavailable
	}
	w.Header().Set("Retry-After", "2")
	if isGet(r) && wantsPage(r) {
		s.say(w, status, m)
		return
	}
	writeJSON(w, status, map[string]string{"error": m.Title + "."})
}

// fault is an error as a visitor sees it.
type fault struct {
	status int
	text   string // a sentence
	wait   int    // seconds until the next try counts
}

func (f fault) Error() string { return f.text }

// faultOf is the one place where errors become answers. Causes that it does
// not know are ours: 503, and the log has them.
func faultOf(err error) fault {
	var f fault
	var slow *account.ThrottledError
	var large *http.MaxBytesError
	var input *account.InputError
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &input):
		return fault{status: http.StatusBadRequest, text: input.Sentence}
	case errors.As(err, &slow):
		n := slow.Seconds()
		return fault{http.StatusTooManyRequests, fmt.Sprintf("Too many failed attempts. Please wait %s.", seconds(n)), n}
	case errors.As(err, &large):
		return fault{status: http.StatusRequestEntityTooLarge, text: "That is too much for this form."}
	}
	for _, known := range []struct {
		err    error
		status int
		text   string
	}{
		{account.ErrNoCredentials, http.StatusUnauthorized, "Authentication required."},
		{account.ErrBadCredentials, http.StatusUnauthorized, "Wrong credentials."},
		{account.ErrExpired, http.StatusUnauthorized, "Your session has ended. Please log in again."},
		{account.ErrAmbiguous, http.StatusBadRequest, "The request has two different credentials. Please send one."},
		{account.ErrSetUpCode, http.StatusForbidden, "The one-time code is missing or wrong. The console of the gate shows it."},
		{account.ErrGuestsOff, http.StatusForbidden, "Guest mode is off."},
		{account.ErrDisabled, http.StatusForbidden, "This account cannot be used at the moment."},
		{account.ErrSetUpNeeded, http.StatusConflict, "No password has been set yet. Please choose one."},
		{account.ErrAlreadySetUp, http.StatusConflict, "A password has been set already. Please log in with it."},
		{account.ErrLinkDead, http.StatusGone, "This link has been used, has expired or was taken back. Please ask for a new one."},
		{account.ErrProveAgain, http.StatusForbidden, "Please enter your password again: this needs a fresh proof that it is you."},
		{account.ErrNotAllowed, http.StatusForbidden, "You may not do this."},
		{account.ErrTaken, http.StatusConflict, "This name is taken."},
		{account.ErrNotFound, http.StatusNotFound, "There is nothing here."},
	} {
		if errors.Is(err, known.err) {
			return fault{status: known.status, text: known.text}
		}
	}
	return fault{status: http.StatusServiceUnavailable, text: "This did not work, and it is not your fault. Please try again in a moment."}
}

func seconds(n int) string {
	if n == 1 {
		return "1 second"
	}
	return strconv.Itoa(n) + " seconds"
}

// explain is faultOf, and puts the causes that are ours into the log.
func (s *Site) explain(r *http.Request, err error) fault {
	f := faultOf(err)
	if f.status == http.StatusServiceUnavailable && r.Context().Err() == nil {
		s.opt.Log.Error("a page could not be answered", "err", err)
	}
	return f
}

// fail answers with an error: a page for browsers, JSON for the rest.
func (s *Site) fail(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, account.ErrAmbiguous) {
		w.Header().Set("Comfylatch-Reason", "two-credentials") // read by auth_inject.js
	}
	s.refuse(w, r, s.explain(r, err))
}

func (s *Site) refuse(w http.ResponseWriter, r *http.Request, f fault) {
	tell(w, f)
	if !wantsPage(r) {
		writeJSON(w, f.status, map[string]string{"error": f.text})
		return
	}
	m := message{Title: http.StatusText(f.status), Text: f.text, Link: "/", LinkTo: "Back to ComfyUI"}
	switch f.status {
	case http.StatusUnauthorized, http.StatusConflict:
		m.Link, m.LinkTo = "/login", "Log in"
	case http.StatusServiceUnavailable:
		m.Title, m.LinkTo = "Not at the moment", "Try again"
	}
	s.say(w, f.status, m)
}

// tell sets the headers that go with a fault.
func tell(w http.ResponseWriter, f fault) {
	if f.wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(f.wait))
	}
	if f.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
}

// only refuses other methods with 405.
func (s *Site) only(w http.ResponseWriter, r *http.Request, methods ...string) bool {
	if slices.Contains(methods, r.Method) {
		return true
	}
	w.Header().Set("Allow", strings.Join(methods, ", "))
	s.refuse(w, r, fault{status: http.StatusMethodNotAllowed, text: "This page does not take " + r.Method + " requests."})
	return false
}

func isGet(r *http.Request) bool {
	return r.Method == http.MethodGet || r.Method == http.MethodHead
}

// wantsPage tells a browser that is going somewhere from a program or script.
func wantsPage(r *http.Request) bool {
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	if r.Header.Get("X-Requested-With") != "" {
		return false
	}
	return strings.Contains(strings.ToLower(strings.Join(r.Header.Values("Accept"), ",")), "text/html")
}

// redirect sends a visitor to a place on this site. The address is always
// relative: a Host header decides nothing.
func redirect(w http.ResponseWriter, status int, to string) {
	w.Header().Set("Location", to)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"error":"The answer could not be written."}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	w.Write(append(body, '\n'))
}

// Policies of our pages. The owner's own login page may have its script and
// style inside; nobody's may load anything from elsewhere.
const (
	ourPolicy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; " +
		"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
	ownersPolicy = "default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
		"font-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)

func (s *Site) say(w http.ResponseWriter, status int, m message) {
	s.page(w, status, "message", m)
}

// page renders one of the built-in pages.
func (s *Site) page(w http.ResponseWriter, status int, name string, data any) {
	var b bytes.Buffer
	if err := s.pages.ExecuteTemplate(&b, name, data); err != nil {
		s.opt.Log.Error("a built-in page could not be written", "page", name, "err", err)
		http.Error(w, "The page could not be written.", http.StatusInternalServerError)
		return
	}
	writePage(w, status, ourPolicy, &b)
}

func writePage(w http.ResponseWriter, status int, policy string, body io.WriterTo) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", policy)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	// Not no-referrer: browsers would then send "Origin: null" with our forms.
	h.Set("Referrer-Policy", "same-origin")
	w.WriteHeader(status)
	body.WriteTo(w)
}

// parsePages reads the built-in templates; {{asset "x.css"}} is the address of
// a static file.
func parsePages(a *assets) (*template.Template, error) {
	t := template.New("").Option("missingkey=error").Funcs(template.FuncMap{"asset": a.address, "ago": ago, "gigabytes": gigabytes, "grant": grant,
		"roles": func() []string { return []string{"guest", "user", "admin"} }})
	t, err := t.ParseFS(templates, "templates/*.html")
	if err != nil {
		return nil, fmt.Errorf("read the built-in pages: %w", err)
	}
	return t, nil
}
