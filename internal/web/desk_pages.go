package web

import (
	"net/http"
	"net/url"
	"strconv"

	"comfylatch/internal/account"
	"comfylatch/internal/audit"
)

// deskPage is what the account and administration pages are made of.
type deskPage struct {
	Page      string // "account", "admin/people" …: also the template's name
	Title     string
	Who       visitor
	Admin     bool
	InSession bool   // came by password or link: may change the password, pair a phone
	Error     string // why the last form was refused, a sentence
	Notice    string // what the last form did
	Sessions  []sessionView
	Tokens    []tokenView
	Owner     string // their name, on the first part of the list of people
	People    []personView
	Links     []linkView
	Events    []eventView
	Kinds     []audit.Kind // to filter by
	Kind, By  string       // the filter
	Now       now
	CanFree   bool
	Grants    []string // what a new token may be
	Next      string   // address of the next part of a list; "" for none
}

// deskPages are our pages, and what fills each.
var deskPages = map[string]struct {
	title  string
	access access
	fill   func(*Site, *call, *deskPage) error
}{
	"account":        {"Your account", owns, (*Site).fillAccount},
	"admin":          {"Administration", administers, (*Site).fillNow},
	"admin/people":   {"People", administers, (*Site).fillPeople},
	"admin/links":    {"Links", administers, (*Site).fillLinks},
	"admin/sessions": {"Sessions", administers, (*Site).fillSessions},
	"admin/tokens":   {"Tokens", administers, (*Site).fillTokens},
	"admin/log":      {"Log", administers, (*Site).fillLog},
}

// serveDesk answers the pages. It tells whether the path is one.
func (s *Site) serveDesk(w http.ResponseWriter, r *http.Request, v Visit, path string) bool {
	page, ok := deskPages[path]
	if !ok || s.opt.Desk == nil {
		return false
	}
	if !s.only(w, r, http.MethodGet, http.MethodHead) {
		return true
	}
	if !v.Who.Manages() || page.access == administers && v.Who.Role < account.Admin {
		reason := "This page is for administrators."
		if page.access == owns {
			reason = "Guests and programs have no account of their own. Log in with a name and a password to see yours."
		}
		s.Forbidden(w, r, v, reason)
		return true
	}
	s.showDesk(&call{w: w, r: r, v: v}, path, fault{})
	return true
}

// showDesk shows a page, with the reason where a form of its was refused.
func (s *Site) showDesk(c *call, path string, why fault) {
	page := deskPages[path]
	p := deskPage{Page: path, Title: page.title, Who: s.visitor(c.v), Admin: c.v.Who.Role >= account.Admin && c.v.Who.Manages(), InSession: c.v.Who.InSession(), Error: why.text}
	if why.text == "" {
		p.Notice = doneText(c.v.query("done"))
	}
	if page.access == administers && !p.Admin || !c.v.Who.Manages() { // a form of a page that is not theirs
		s.refuse(c.w, c.r, why)
		return
	}
	if err := page.fill(s, c, &p); err != nil {
		s.fail(c.w, c.r, err)
		return
	}
	status := http.StatusOK
	if why.status != 0 {
		status = why.status
		tell(c.w, why)
	}
	s.page(c.w, status, path, p)
}

func doneText(action string) string {
	for _, o := range ops {
		if o.action == action && action != "" {
			return o.done
		}
	}
	return ""
}

// nextPart is the address of the part of a page's list behind a cursor.
func nextPart(page, cursor string) string {
	if cursor == "" {
		return ""
	}
	return "/_latch/" + page + "?after=" + url.QueryEscape(cursor)
}

func (s *Site) fillAccount(c *call, p *deskPage) error {
	var err error
	everybodys := c.v.query("all") == "1"
	if p.Sessions, _, err = s.sessions(c, everybodys); err != nil {
		return err
	}
	if p.Tokens, _, err = s.tokens(c, everybodys); err != nil {
		return err
	}
	if p.Grants = []string{"run", "read", "user"}; c.v.Who.Role >= account.Admin {
		p.Grants = append(p.Grants, "admin")
	} else if c.v.Who.Role == account.Guest {
		p.Grants = []string{"guest"}
	}
	return nil
}

func (s *Site) fillNow(c *call, p *deskPage) error {
	p.Now, p.CanFree = s.lookNow(c.r.Context()), s.opt.Desk.Free != nil
	return nil
}

func (s *Site) fillPeople(c *call, p *deskPage) (err error) {
	var cursor string
	p.People, cursor, err = s.people(c)
	p.Next = nextPart(p.Page, cursor)
	if c.v.query("after") == "" {
		p.Owner = s.opt.Login.Status().OwnerName
	}
	return err
}

func (s *Site) fillLinks(c *call, p *deskPage) (err error) {
	var cursor string
	p.Links, cursor, err = s.links(c)
	p.Next = nextPart(p.Page, cursor)
	return err
}

func (s *Site) fillSessions(c *call, p *deskPage) (err error) {
	var cursor string
	p.Sessions, cursor, err = s.sessions(c, true)
	p.Next = nextPart(p.Page, cursor)
	return err
}

func (s *Site) fillTokens(c *call, p *deskPage) (err error) {
	var cursor string
	p.Tokens, cursor, err = s.tokens(c, true)
	p.Next = nextPart(p.Page, cursor)
	return err
}

func (s *Site) fillLog(c *call, p *deskPage) error {
	f := s.eventFilter(c)
	events, err := s.opt.Desk.People.Events(c.r.Context(), c.v.Who, f)
	for _, e := range events {
		p.Events = append(p.Events, viewEvent(e))
	}
	p.Kinds, p.Kind, p.By = audit.Kinds, string(f.Kind), c.v.query("who")
	if len(events) == f.Limit {
		q := url.Values{"kind": {p.Kind}, "who": {p.By}, "before": {strconv.FormatInt(events[len(events)-1].ID, 10)}}
		p.Next = "/_latch/admin/log?" + q.Encode()
	}
	return err
}

// again is the page that asks for the password before something dangerous. It
// carries the form that it interrupts.
type again struct {
	Who    visitor
	Action string
	Fields map[string]string
	Back   string
	Error  string
	Wait   int
}

func (s *Site) askAgain(c *call, o *op, fields url.Values, reason string) {
	kept := make(map[string]string)
	for name, values := range fields {
		if name != "proof" {
			kept[name] = values[0]
		}
	}
	status := http.StatusOK
	if reason != "" {
		status = http.StatusForbidden
	}
	s.page(c.w, status, "again", again{Who: s.visitor(c.v), Action: o.action, Fields: kept, Back: "/_latch/" + backTo(fields.Get("back"), o.page), Error: reason})
}
