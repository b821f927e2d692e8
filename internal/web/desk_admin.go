package web

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"comfylatch/internal/account"
	"comfylatch/internal/audit"
	"comfylatch/internal/people"
)

// What administrators do.

func (s *Site) listPeople(c *call) (any, error) {
	views, next, err := s.people(c)
	return map[string]any{"people": views, "next": next}, err
}

func (s *Site) people(c *call) ([]personView, string, error) {
	all, err := s.opt.Desk.People.List(c.r.Context(), c.page())
	views, next := part(c, all, viewPerson, func(p *account.Person) string { return p.Name })
	return views, next, err
}

func (s *Site) getPerson(c *call) (any, error) {
	p, err := s.opt.Desk.People.Get(c.r.Context(), c.id)
	return viewPerson(&p), err
}

func (s *Site) doAddPerson(c *call) (any, error) {
	role, err := personRole(c.in.Role)
	if err != nil {
		return nil, err
	}
	if c.in.Password == "" {
		return nil, bad("Please choose a password, or make an invitation instead: then they choose it themselves.")
	}
	p, err := s.opt.Desk.People.Add(c.r.Context(), c.v.Who, c.in.Name, role, c.in.Password)
	return viewPerson(&p), err
}

func personRole(name string) (account.Role, error) {
	if name == "" {
		return account.User, nil
	}
	role, err := account.ParseRole(name)
	if err != nil || role > account.Admin {
		return role, bad("The role must be guest, user or admin.")
	}
	return role, nil
}

func (s *Site) doChangePerson(c *call) (any, error) {
	if c.in.Role == "" && c.in.Disabled == nil {
		return nil, bad(`There is nothing to change: give "role" or "disabled".`)
	}
	ctx, desk := c.r.Context(), s.opt.Desk.People
	if c.in.Role != "" {
		role, err := personRole(c.in.Role)
		if err != nil {
			return nil, err
		}
		if err := desk.SetRole(ctx, c.v.Who, c.id, role); err != nil {
			return nil, err
		}
	}
	if c.in.Disabled != nil {
		change := desk.Enable
		if *c.in.Disabled {
			change = desk.Disable
		}
		if err := change(ctx, c.v.Who, c.id); err != nil {
			return nil, err
		}
	}
	return s.getPerson(c)
}

func (s *Site) doRemovePerson(c *call) (any, error) {
	return nil, s.opt.Desk.People.Remove(c.r.Context(), c.v.Who, c.id)
}

func (s *Site) listLinks(c *call) (any, error) {
	views, next, err := s.links(c)
	return map[string]any{"links": views, "next": next}, err
}

func (s *Site) links(c *call) ([]linkView, string, error) {
	all, err := s.opt.Desk.People.Links(c.r.Context(), c.v.Who, c.page())
	views, next := part(c, all, viewLink, func(l *account.Link) string { return l.ID })
	return views, next, err
}

func (s *Site) doMakeLink(c *call) (any, error) {
	role, err := personRole(c.in.Role)
	if err != nil {
		return nil, err
	}
	life, err := lifetime(c.in.Expires, 0)
	if err != nil {
		return nil, err
	}
	return s.makeLink(c, people.NewLink{Kind: account.LinkKind(c.in.Kind), Role: role, UserID: c.in.User, Note: c.in.Note, Life: life, Runs: c.in.Runs})
}

// makeLink makes a link and its address. The address begins as the visitor's
// own page does, whose origin has been checked.
func (s *Site) makeLink(c *call, n people.NewLink) (any, error) {
	code, l, err := s.opt.Desk.People.MakeLink(c.r.Context(), c.v.Who, n)
	if err != nil {
		return nil, err
	}
	scheme := "http://"
	if c.v.Secure {
		scheme = "https://"
	}
	m := made{What: "link", ID: l.ID, Kind: string(l.Kind), Role: l.Role.String(), Expires: stamp(l.ExpiresAt), Value: scheme + c.v.Host + "/_latch/join?code=" + code.Reveal()}
	switch l.Kind {
	case account.Pairing:
		m.Title, m.Text = "Log in on your phone", "Scan this with the phone's camera within five minutes. It logs the phone in as you, once."
	case account.Reset:
		m.Title, m.Text = "New password for "+l.Name, "Give this to them: whoever opens it first chooses the new password. It works once, for a day."
	case account.GuestLink:
		m.Title, m.Text = "Guest link", "Whoever opens it may look and generate, "+plural(l.Uses, "run")+" in all."
	default:
		m.Title, m.Text = "Invitation", "Give this to one person: whoever opens it first chooses a name and a password. It works once."
	}
	m.QR = qrCode(m.Value)
	return m, nil
}

func (s *Site) doRevokeLink(c *call) (any, error) {
	return nil, s.opt.Desk.People.RevokeLink(c.r.Context(), c.v.Who, c.id)
}

const maxEvents = 10_000 // read at once

func (s *Site) eventFilter(c *call) audit.Filter {
	f := audit.Filter{Kind: audit.Kind(c.v.query("kind")), Limit: 100}
	f.Before, _ = strconv.ParseInt(c.v.query("before"), 10, 64)
	if n, err := strconv.Atoi(c.v.query("limit")); err == nil && n > 0 {
		f.Limit = min(n, maxEvents)
	} else if c.v.query("format") == "csv" {
		f.Limit = maxEvents
	}
	switch who := strings.TrimSpace(c.v.query("who")); {
	case who == "" || strings.Contains(who, ":"):
		f.Principal = who
	case who == account.OwnerID:
		f.Principal = "user:" + who
	default:
		f.Principal = "name:" + who // nobody, unless it is somebody's
		if p, err := s.opt.Desk.People.Find(c.r.Context(), who); err == nil {
			f.Principal = "user:" + p.ID
		}
	}
	return f
}

// listEvents answers with JSON, or with a table for spreadsheets (?format=csv),
// which is whole unless there is a limit.
func (s *Site) listEvents(c *call) (any, error) {
	f := s.eventFilter(c)
	events, err := s.opt.Desk.People.Events(c.r.Context(), c.v.Who, f)
	if err != nil {
		return nil, err
	}
	if c.v.query("format") == "csv" {
		s.download(c, f, events)
		return nil, nil
	}
	views := make([]eventView, 0, len(events))
	for _, e := range events {
		views = append(views, viewEvent(e))
	}
	return map[string]any{"events": views, "next": nextEvent(f, events)}, nil
}

// nextEvent is where the part after this one begins; 0 where there is none.
func nextEvent(f audit.Filter, events []audit.Event) int64 {
	if len(events) < f.Limit {
		return 0
	}
	return events[len(events)-1].ID
}

// download writes a table that begins with these events.
func (s *Site) download(c *call, f audit.Filter, events []audit.Event) {
	c.answered = true
	h := c.w.Header()
	h.Set("Content-Type", "text/csv; charset=utf-8")
	h.Set("Content-Disposition", `attachment; filename="comfylatch-events.csv"`)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	next, whole := nextEvent(f, events), c.v.query("limit") == ""
	if next > 0 && !whole {
		h.Set("Link", `</_latch/api/events?format=csv&limit=`+strconv.Itoa(f.Limit)+`&before=`+strconv.FormatInt(next, 10)+`>; rel="next"`)
	}
	out := csv.NewWriter(c.w)
	out.Write([]string{"id", "time", "kind", "who", "name", "address", "detail"})
	for {
		for _, one := range events {
			e := viewEvent(one)
			out.Write([]string{strconv.FormatInt(e.ID, 10), e.Time, e.Kind, cell(e.Who), cell(e.Name), cell(e.Address), cell(e.Detail)})
		}
		out.Flush()
		if next == 0 || !whole || out.Error() != nil {
			return
		}
		var err error
		f.Before = next
		if events, err = s.opt.Desk.People.Events(c.r.Context(), c.v.Who, f); err != nil {
			panic(http.ErrAbortHandler) // the header is out: only so does it show that this is not all
		}
		next = nextEvent(f, events)
	}
}

// cell keeps a spreadsheet from taking a visitor's text for a formula (CWE-1236).
func cell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

// now is what the gate and ComfyUI are doing.
type now struct {
	Gate    string `json:"version"`
	ComfyUI string `json:"comfyui"` // its version, "" while not known
	Up      bool   `json:"up"`
	Queue   struct {
		Pending int `json:"pending"`
		Running int `json:"running"`
	} `json:"queue"`
	Device struct {
		Name string `json:"name"`
		Type string `json:"type"`
	} `json:"device"`
	VRAM struct {
		Total int64 `json:"total"`
		Free  int64 `json:"free"`
	} `json:"vram"`
	Guests bool `json:"guests"` // guest mode is on
}

func (s *Site) getNow(c *call) (any, error) { return s.lookNow(c.r.Context()), nil }

func (s *Site) lookNow(ctx context.Context) now {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var n now
	if s.opt.Health != nil {
		state, up := s.opt.Health(ctx)
		if body, err := json.Marshal(state); err == nil {
			json.Unmarshal(body, &n) // fields that are missing stay zero
		}
		n.Up = up
	}
	n.Gate, n.Guests = s.opt.Version, s.opt.Login.Status().Guests
	if s.opt.Desk.ComfyUI != nil {
		n.ComfyUI = s.opt.Desk.ComfyUI()
	}
	return n
}

func (s *Site) doSettings(c *call) (any, error) {
	if c.in.Guests == nil {
		return nil, bad(`There is nothing to change: give "guests".`)
	}
	if err := s.opt.Desk.Login.SetGuests(c.r.Context(), *c.in.Guests); err != nil {
		return nil, err
	}
	s.opt.Desk.People.Record(c.r.Context(), audit.Setting, c.v.Who, "guest mode "+map[bool]string{true: "on", false: "off"}[*c.in.Guests])
	return map[string]bool{"guests": *c.in.Guests}, nil
}

func (s *Site) doFree(c *call) (any, error) {
	if s.opt.Desk.Free == nil {
		return nil, account.ErrNotFound
	}
	if err := s.opt.Desk.Free(c.r.Context()); err != nil {
		s.opt.Log.Warn("ComfyUI's memory could not be freed", "err", err)
		return nil, fault{status: http.StatusBadGateway, text: "ComfyUI did not free its memory. Is it running?"}
	}
	return nil, nil
}
