package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"comfylatch/internal/account"
	"comfylatch/internal/audit"
	"comfylatch/internal/login"
	"comfylatch/internal/people"
)

// Desk is what the account and administration pages work on.
type Desk struct {
	People *people.Service
	Login  DeskLogin
	Audit  *audit.Log
	// Free frees ComfyUI's memory, for everybody.
	Free func(context.Context) error
	// ComfyUI is the version of ComfyUI, "" while not known.
	ComfyUI func() string
}

// DeskLogin proves and changes passwords, and switches guest mode; room login
// does.
type DeskLogin interface {
	Prove(ctx context.Context, p account.Principal, password string, c login.Client) error
	ProvedWithin(ctx context.Context, p account.Principal, age time.Duration) (bool, error)
	ChangePassword(ctx context.Context, p account.Principal, old, password string, c login.Client) (account.Secret, account.Principal, error)
	SetGuests(ctx context.Context, on bool) error
}

// proofAge is how long a proof of the password lasts for what is dangerous.
const proofAge = 10 * time.Minute

// access is who may do an operation.
type access uint8

const (
	owns        access = iota // whoever manages an account: not guests, not programs with few rights
	administers               // administrators
)

// op is one operation on people and what hangs on them. It can be had twice:
// as JSON under /_latch/api/, and by a form of our pages at /_latch/do/.
type op struct {
	method, path string // of the JSON API; "{id}" is one segment
	action       string // of a form; "" for none
	page         string // that the form stands on: "account", "admin/people" …
	done         string // what that page says afterwards
	access       access
	fresh        bool // takes a password that was proved within proofAge
	do           func(*Site, *call) (any, error)
}

// call is one use of an operation.
type call struct {
	w  http.ResponseWriter
	r  *http.Request
	v  Visit
	id string
	in input
	// answered: the operation has written its own answer.
	answered bool
}

// input is what operations take, from JSON or from a form.
type input struct {
	ID       string `json:"-"`
	Name     string `json:"name"`
	Role     string `json:"role"`
	Password string `json:"password"`
	Old      string `json:"old"`
	Kind     string `json:"kind"`
	User     string `json:"user"`
	Note     string `json:"note"`
	Expires  string `json:"expires"` // a length of time: "30d", "12h"; "" for the default
	Runs     int    `json:"runs"`
	Disabled *bool  `json:"disabled"`
	Guests   *bool  `json:"guests"`
}

// ops are all operations. The OpenAPI file says the same; a test compares.
var ops = []op{
	{"POST", "prove", "prove", "account", "", owns, false, (*Site).doProve},
	{"POST", "password", "password", "account", "Your password is changed. Everything else that was logged in as you has ended.", owns, false, (*Site).doPassword},
	{"GET", "sessions", "", "", "", owns, false, (*Site).listSessions},
	{"DELETE", "sessions", "end-others", "account", "All your other sessions have ended.", owns, false, (*Site).doEndOthers},
	{"DELETE", "sessions/{id}", "end-session", "account", "The session has ended.", owns, false, (*Site).doEndSession},
	{"GET", "tokens", "", "", "", owns, false, (*Site).listTokens},
	{"POST", "tokens", "make-token", "account", "", owns, true, (*Site).doMakeToken},
	{"DELETE", "tokens/{id}", "revoke-token", "account", "The token is revoked, and its open sockets are closed.", owns, false, (*Site).doRevokeToken},
	{"POST", "phone", "phone", "account", "", owns, true, (*Site).doPair},

	{"GET", "people", "", "", "", administers, false, (*Site).listPeople},
	{"POST", "people", "add-person", "admin/people", "The account is made.", administers, true, (*Site).doAddPerson},
	{"GET", "people/{id}", "", "", "", administers, false, (*Site).getPerson},
	{"PATCH", "people/{id}", "change-person", "admin/people", "The account is changed. What no longer fits it has ended.", administers, true, (*Site).doChangePerson},
	{"DELETE", "people/{id}", "remove-person", "admin/people", "The account is removed, with all that hung on it.", administers, true, (*Site).doRemovePerson},
	{"GET", "links", "", "", "", administers, false, (*Site).listLinks},
	{"POST", "links", "make-link", "admin/links", "", administers, true, (*Site).doMakeLink},
	{"DELETE", "links/{id}", "revoke-link", "admin/links", "The link is taken back, and whoever came by it is out.", administers, false, (*Site).doRevokeLink},
	{"GET", "events", "", "", "", administers, false, (*Site).listEvents},
	{"GET", "now", "", "", "", administers, false, (*Site).getNow},
	{"PATCH", "settings", "settings", "admin", "The setting is changed.", administers, true, (*Site).doSettings},
	{"POST", "free", "free", "admin", "ComfyUI frees its memory.", administers, false, (*Site).doFree},
}

// serveAPI answers /_latch/api/…, but for the few paths that strangers and
// guests use. It tells whether the path is one of its own.
func (s *Site) serveAPI(w http.ResponseWriter, r *http.Request, v Visit, path string) bool {
	if s.opt.Desk == nil {
		return false
	}
	var allowed []string
	for i := range ops {
		o := &ops[i]
		id, ok := matchOp(o.path, path)
		if !ok {
			continue
		}
		if allowed = append(allowed, o.method); o.method != r.Method && (o.method != http.MethodGet || r.Method != http.MethodHead) {
			continue
		}
		c := &call{w: w, r: r, v: v, id: id}
		result, err := s.callAPI(c, o)
		switch {
		case err != nil:
			s.fail(w, r, err)
		case c.answered:
		case result == nil:
			w.Header().Set("Cache-Control", "no-store")
			w.WriteHeader(http.StatusNoContent)
		default:
			writeJSON(w, http.StatusOK, result)
		}
		return true
	}
	if allowed == nil {
		return false
	}
	s.only(w, r, allowed...)
	return true
}

func matchOp(pattern, path string) (id string, ok bool) {
	if prefix, found := strings.CutSuffix(pattern, "{id}"); found {
		id, ok = strings.CutPrefix(path, prefix)
		return id, ok && id != "" && !strings.Contains(id, "/")
	}
	return "", pattern == path
}

func (s *Site) callAPI(c *call, o *op) (any, error) {
	if err := s.mayDo(c.r.Context(), c.v.Who, o); err != nil {
		return nil, err
	}
	if c.r.Method != http.MethodGet && c.r.Method != http.MethodHead {
		if err := readStrict(c.w, c.r, &c.in); err != nil {
			return nil, err
		}
	}
	return o.do(s, c)
}

// mayDo decides whether somebody known may do an operation now.
func (s *Site) mayDo(ctx context.Context, who account.Principal, o *op) error {
	if !who.Manages() || o.access == administers && who.Role < account.Admin {
		return account.ErrNotAllowed
	}
	if !o.fresh || who.Method != account.ByCookie {
		return nil // programs prove themselves with each request
	}
	if !who.InSession() {
		return fault{status: http.StatusForbidden, text: "This browser came by a key. Please log in with your password to do this."}
	}
	ok, err := s.opt.Desk.Login.ProvedWithin(ctx, who, proofAge)
	if err == nil && !ok {
		err = account.ErrProveAgain
	}
	return err
}

// readStrict reads a JSON body of known fields; no body is none of them.
func readStrict(w http.ResponseWriter, r *http.Request, into any) error {
	if err := limitBody(w, r); err != nil {
		return err
	}
	body, err := readAll(r)
	if err != nil || len(bytes.TrimSpace(body)) == 0 {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if !utf8.Valid(body) || d.Decode(into) != nil || d.More() {
		return bad("The body is not the JSON that is expected here. The fields are in /_latch/api/openapi.json.")
	}
	return nil
}

// serveDo answers the forms of our pages: POST /_latch/do/ACTION.
func (s *Site) serveDo(w http.ResponseWriter, r *http.Request, v Visit, action string) {
	i := slices.IndexFunc(ops, func(o op) bool { return o.action == action && action != "" })
	if i < 0 || s.opt.Desk == nil {
		s.fail(w, r, account.ErrNotFound)
		return
	}
	if !s.only(w, r, http.MethodPost) {
		return
	}
	o := &ops[i]
	fields, err := s.readDesk(w, r, v)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	c := &call{w: w, r: r, v: v, id: fields.Get("id")}
	page := backTo(fields.Get("back"), o.page)
	result, err := s.submit(c, o, fields)
	var m made
	switch {
	case errors.Is(err, account.ErrProveAgain):
		s.askAgain(c, o, fields, "")
	case err != nil && fields.Get("proof") != "" && errors.Is(err, account.ErrBadCredentials):
		s.askAgain(c, o, fields, "That password is wrong.")
	case err != nil:
		s.showDesk(c, page, s.explainForm(r, err))
	case asMade(result, &m):
		m.Back = "/_latch/" + page
		s.page(w, http.StatusOK, "made", m)
	default:
		redirect(w, http.StatusSeeOther, "/_latch/"+page+"?done="+url.QueryEscape(o.action))
	}
}

// submit does an operation that a form asks for. A form that was asked for the
// password again brings it along.
func (s *Site) submit(c *call, o *op, fields url.Values) (any, error) {
	var err error
	if c.in, err = formInput(fields); err != nil {
		return nil, err
	}
	if proof := fields.Get("proof"); proof != "" && o.fresh {
		if err := s.opt.Desk.Login.Prove(c.r.Context(), c.v.Who, proof, c.v.client(c.r)); err != nil {
			return nil, err
		}
	}
	if err := s.mayDo(c.r.Context(), c.v.Who, o); err != nil {
		return nil, err
	}
	return o.do(s, c)
}

func (s *Site) readDesk(w http.ResponseWriter, r *http.Request, v Visit) (url.Values, error) {
	if err := sameSite(r, v.Host); err != nil {
		return nil, err
	}
	fields, err := readFields(w, r)
	if err != nil {
		return nil, err
	}
	for name, values := range fields {
		if len(values) > 1 {
			return nil, bad("The form has the field %q twice.", cutText(name, 32))
		}
		if !utf8.ValidString(values[0]) {
			return nil, bad("The form has text that is not valid UTF-8.")
		}
	}
	return fields, nil
}

func formInput(f url.Values) (input, error) {
	in := input{Name: f.Get("name"), Role: f.Get("role"), Password: f.Get("password"), Old: f.Get("old"), Kind: f.Get("kind"),
		User: f.Get("user"), Note: f.Get("note"), Expires: f.Get("expires")}
	for name, into := range map[string]**bool{"disabled": &in.Disabled, "guests": &in.Guests} {
		if v := f.Get(name); v != "" {
			on := v == "true"
			*into = &on
		}
	}
	if v := f.Get("runs"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			return in, bad("The number of runs is not a number.")
		}
		in.Runs = n
	}
	return in, nil
}

// explainForm is explain, and names a wrong password as what it is here.
func (s *Site) explainForm(r *http.Request, err error) fault {
	if errors.Is(err, account.ErrBadCredentials) {
		return fault{status: http.StatusForbidden, text: "The old password is wrong."}
	}
	return s.explain(r, err)
}

// backTo gives the page that a form says it stands on, if it is one of ours.
func backTo(page, otherwise string) string {
	if _, ok := deskPages[page]; ok {
		return page
	}
	return otherwise
}

func cutText(s string, n int) string {
	if len(s) > n {
		s = s[:n] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}
