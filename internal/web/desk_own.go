package web

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"comfylatch/internal/account"
	"comfylatch/internal/login"
	"comfylatch/internal/people"
)

// What one may do with one's own account. Sessions and tokens of others are
// there for administrators with ?all=1.

func (s *Site) doProve(c *call) (any, error) {
	return nil, s.opt.Desk.Login.Prove(c.r.Context(), c.v.Who, c.in.Password, c.v.client(c.r))
}

func (s *Site) doPassword(c *call) (any, error) {
	if !c.v.Who.InSession() {
		return nil, account.ErrNotAllowed
	}
	secret, _, err := s.opt.Desk.Login.ChangePassword(c.r.Context(), c.v.Who, c.in.Old, c.in.Password, c.v.client(c.r))
	if err == nil {
		setSession(c.w, secret, c.v.Secure, s.opt.SessionAge)
	}
	return nil, err
}

func (s *Site) listSessions(c *call) (any, error) {
	views, next, err := s.sessions(c, c.v.query("all") == "1")
	return map[string]any{"sessions": views, "next": next}, err
}

// sessions are one's own, or everybody's.
func (s *Site) sessions(c *call, everybody bool) ([]sessionView, string, error) {
	list := s.opt.Desk.People.Sessions
	if everybody {
		list = s.opt.Desk.People.AllSessions
	}
	all, err := list(c.r.Context(), c.v.Who, c.page())
	view := func(one *account.Session) sessionView { return viewSession(one, c.v.Who) }
	views, next := part(c, all, view, (*account.Session).Cursor)
	return views, next, err
}

func (s *Site) doEndOthers(c *call) (any, error) {
	n, err := s.opt.Desk.People.EndOtherSessions(c.r.Context(), c.v.Who)
	return map[string]int{"ended": n}, err
}

func (s *Site) doEndSession(c *call) (any, error) {
	return nil, s.opt.Desk.People.EndSession(c.r.Context(), c.v.Who, c.id)
}

func (s *Site) listTokens(c *call) (any, error) {
	views, next, err := s.tokens(c, c.v.query("all") == "1")
	return map[string]any{"tokens": views, "next": next}, err
}

// tokens are one's own, or everybody's.
func (s *Site) tokens(c *call, everybody bool) ([]tokenView, string, error) {
	list := s.opt.Desk.People.Tokens
	if everybody {
		list = s.opt.Desk.People.AllTokens
	}
	all, err := list(c.r.Context(), c.v.Who, c.page())
	views, next := part(c, all, viewToken, (*account.Token).Cursor)
	return views, next, err
}

func (s *Site) doMakeToken(c *call) (any, error) {
	if c.in.Role == "" {
		c.in.Role = "run"
	}
	role, scope, err := account.ParseGrant(c.in.Role)
	if err != nil {
		return nil, bad("The role must be read, run, user or admin.")
	}
	if c.v.Who.Role == account.Guest {
		role = account.Guest // of a narrowed-down guest nothing more than a guest is left
	}
	life, err := lifetime(c.in.Expires, 0)
	if err != nil {
		return nil, err
	}
	n := login.NewToken{Name: strings.TrimSpace(c.in.Name), Role: role, Scope: scope}
	if life > 0 {
		n.Expires = time.Now().Add(life)
	}
	secret, t, err := s.opt.Desk.People.MakeToken(c.r.Context(), c.v.Who, n)
	if err != nil {
		return nil, err
	}
	return made{Title: "Token for " + t.Name, What: "token", Text: "Copy it now: it is shown only once. Whoever has it has its rights.",
		ID: t.ID, Value: secret.Reveal(), Role: t.Grant(), Expires: stamp(t.ExpiresAt)}, nil
}

func (s *Site) doRevokeToken(c *call) (any, error) {
	return nil, s.opt.Desk.People.RevokeToken(c.r.Context(), c.v.Who, c.id)
}

func (s *Site) doPair(c *call) (any, error) {
	return s.makeLink(c, people.NewLink{Kind: account.Pairing})
}

// page is which part of a list the query asks for.
func (c *call) page() account.Page {
	n, _ := strconv.Atoi(c.v.query("limit")) // nonsense means the default
	return account.Page{After: c.v.query("after"), Limit: n}
}

// limit is how long a full part is: a shorter one is the last.
func (c *call) limit() int {
	n := c.page().Limit
	if n <= 0 || n > people.MaxPage {
		n = 50
	}
	return n
}

// part is what is shown of a part of a list, and the cursor of its last one; ""
// where that is the end.
func part[T, V any](c *call, all []T, view func(*T) V, cursor func(*T) string) (views []V, next string) {
	views = make([]V, 0, len(all))
	for i := range all {
		views, next = append(views, view(&all[i])), cursor(&all[i])
	}
	if len(views) < c.limit() {
		next = ""
	}
	return views, next
}

// lifetime reads "30d", "12h", "90m", or "never" and "" for none.
func lifetime(s string, none time.Duration) (time.Duration, error) {
	if s == "" || s == "never" {
		return none, nil
	}
	text, factor := s, time.Duration(1)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		text, factor = days+"h", 24
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 || d > 100*365*24*time.Hour/factor {
		return 0, fault{status: http.StatusBadRequest, text: "The length of time cannot be read: write 30d, 12h or 90m."}
	}
	return d * factor, nil
}
