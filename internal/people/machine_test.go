package people_test

import (
	"flag"
	"os"
	"testing"

	"pgregory.net/rapid"

	"comfylatch/internal/account"
	"comfylatch/internal/login"
	"comfylatch/internal/people"
)

// TestMain keeps the machine short: go test -rapid.checks=100 runs it long.
func TestMain(m *testing.M) {
	for name, value := range map[string]string{"rapid.checks": "4", "rapid.steps": "20"} {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	flag.Parse()
	os.Exit(m.Run())
}

// modelPerson is what should be true of somebody, by the rules alone.
type modelPerson struct {
	name, password string
	id             string
	role           account.Role
	disabled       bool
	cookies        []string // live sessions
	tokens         map[string]account.Role
}

// machine does at random what people and administrators do, and remembers what
// must live and what must be dead.
type machine struct {
	h      *house
	dir    string
	owner  string // the password
	names  int
	people []*modelPerson
	links  map[string]string // code → "invitation", or whose reset
	owners []string          // the owner's live cookies
	dead   []string          // cookies
	deadT  []string          // tokens
	deadL  []string          // codes
}

func (m *machine) pick(t *rapid.T) *modelPerson {
	if len(m.people) == 0 {
		t.Skip("nobody")
	}
	return rapid.SampledFrom(m.people).Draw(t, "who")
}

// end moves everything of somebody's to the dead.
func (m *machine) end(p *modelPerson, keep account.Role) {
	m.dead = append(m.dead, p.cookies...)
	p.cookies = nil
	for token, role := range p.tokens {
		if role > keep {
			m.deadT = append(m.deadT, token)
			delete(p.tokens, token)
		}
	}
	for code, whose := range m.links {
		if whose == p.id {
			m.deadL = append(m.deadL, code)
			delete(m.links, code)
		}
	}
}

const plain = "abcdefghjkpqstuxyz" // letters of which none looks like another

func (m *machine) invite(t *rapid.T) {
	role := rapid.SampledFrom([]account.Role{account.Guest, account.User, account.Admin}).Draw(t, "role")
	code, _, err := m.h.MakeLink(t.Context(), people.Command(), people.NewLink{Kind: account.Invitation, Role: role})
	noError(t, err)
	m.names++
	p := &modelPerson{name: "Person " + string(plain[m.names%len(plain)]) + string(plain[m.names/len(plain)%len(plain)]), password: good, role: role, tokens: map[string]account.Role{}}
	cookie, who, err := m.h.Accept(t.Context(), code.Reveal(), p.name, p.password, there)
	noError(t, err)
	p.id, p.cookies = who.UserID, []string{cookie.Reveal()}
	m.people, m.deadL = append(m.people, p), append(m.deadL, code.Reveal())
}

func (m *machine) logIn(t *rapid.T) {
	p := m.pick(t)
	cookie, who, err := m.h.login.LogIn(t.Context(), p.name, p.password, there)
	if p.disabled {
		if err != account.ErrDisabled {
			t.Fatalf("a disabled account logs in: %v", err)
		}
		return
	}
	noError(t, err)
	if who.Role != p.role {
		t.Fatalf("%s came in as %s, want %s", p.name, who.Role, p.role)
	}
	p.cookies = append(p.cookies, cookie.Reveal())
}

func (m *machine) makeToken(t *rapid.T) {
	p := m.pick(t)
	if len(p.cookies) == 0 {
		t.Skip("not logged in")
	}
	who, err := m.h.login.Find(t.Context(), p.cookies[0])
	noError(t, err)
	role := min(p.role, rapid.SampledFrom([]account.Role{account.Guest, account.User, account.Admin}).Draw(t, "role"))
	secret, _, err := m.h.MakeToken(t.Context(), who, login.NewToken{Name: account.NewID(), Role: role})
	noError(t, err)
	p.tokens[secret.Reveal()] = role
}

func (m *machine) setRole(t *rapid.T) {
	p := m.pick(t)
	role := rapid.SampledFrom([]account.Role{account.Guest, account.User, account.Admin}).Draw(t, "role")
	noError(t, m.h.SetRole(t.Context(), people.Command(), p.id, role))
	p.role = role
	m.end(p, role)
}

func (m *machine) toggle(t *rapid.T) {
	p := m.pick(t)
	if p.disabled {
		noError(t, m.h.Enable(t.Context(), people.Command(), p.id))
	} else {
		noError(t, m.h.Disable(t.Context(), people.Command(), p.id))
	}
	p.disabled = !p.disabled
	m.end(p, account.Anonymous)
}

func (m *machine) remove(t *rapid.T) {
	p := m.pick(t)
	noError(t, m.h.Remove(t.Context(), people.Command(), p.id))
	m.end(p, account.Anonymous)
	for i, one := range m.people {
		if one == p {
			m.people = append(m.people[:i:i], m.people[i+1:]...)
		}
	}
}

func (m *machine) changePassword(t *rapid.T) {
	p := m.pick(t)
	if len(p.cookies) == 0 {
		t.Skip("not logged in")
	}
	who, err := m.h.login.Find(t.Context(), p.cookies[0])
	noError(t, err)
	next := "words of " + account.NewID()
	cookie, _, err := m.h.login.ChangePassword(t.Context(), who, p.password, next, there)
	noError(t, err)
	p.password = next
	m.end(p, account.Anonymous)
	p.cookies = []string{cookie.Reveal()}
}

func (m *machine) reset(t *rapid.T) {
	p := m.pick(t)
	code, _, err := m.h.MakeLink(t.Context(), people.Command(), people.NewLink{Kind: account.Reset, UserID: p.id})
	if p.disabled {
		return
	}
	noError(t, err)
	m.links[code.Reveal()] = p.id
	if rapid.Bool().Draw(t, "use it") {
		p.password = "words of " + account.NewID()
		cookie, _, err := m.h.Accept(t.Context(), code.Reveal(), "", p.password, there)
		noError(t, err)
		m.end(p, account.Anonymous)
		p.cookies = []string{cookie.Reveal()}
	}
}

func (m *machine) endSession(t *rapid.T) {
	p := m.pick(t)
	if len(p.cookies) == 0 {
		t.Skip("not logged in")
	}
	who, err := m.h.login.Find(t.Context(), p.cookies[0])
	noError(t, err)
	noError(t, m.h.EndSession(t.Context(), who, who.Ref))
	m.dead, p.cookies = append(m.dead, p.cookies[0]), p.cookies[1:]
}

func (m *machine) ownerLogsIn(t *rapid.T) {
	cookie, _, err := m.h.login.LogIn(t.Context(), "Ada", m.owner, there)
	noError(t, err) // never locked out
	m.owners = append(m.owners, cookie.Reveal())
}

func (m *machine) restart(t *rapid.T) {
	m.h.stop()
	m.h = enter(t, m.dir)
}

// check compares the gate with the model.
func (m *machine) check(t *rapid.T) {
	ctx := t.Context()
	for _, cookie := range m.dead {
		if _, err := m.h.login.Find(ctx, cookie); err == nil {
			t.Fatal("a session lives that should be dead")
		}
	}
	for _, token := range m.deadT {
		if _, err := m.h.login.Token(ctx, token, login.Client{Local: true}); err == nil {
			t.Fatal("a token lives that should be dead")
		}
	}
	for _, code := range m.deadL {
		if _, err := m.h.Look(ctx, code, there); err == nil {
			t.Fatal("a link lives that should be dead")
		}
	}
	for _, p := range m.people {
		for _, cookie := range p.cookies {
			if who, err := m.h.login.Find(ctx, cookie); err != nil || who.Role != p.role || p.disabled {
				t.Fatalf("%s's session: %+v, %v", p.name, who, err)
			}
		}
		for token, role := range p.tokens {
			if who, err := m.h.login.Token(ctx, token, login.Client{Local: true}); err != nil || who.Role != role || role > p.role {
				t.Fatalf("%s's token: %+v, %v", p.name, who, err)
			}
		}
	}
	for _, cookie := range m.owners {
		if _, err := m.h.login.Find(ctx, cookie); err != nil {
			t.Fatalf("the owner is out: %v", err)
		}
	}
}

// No sequence of what people and administrators do leaves a session, token or
// link alive that should be dead, or the owner locked out.
func TestNoSequenceLeavesADeadThingAlive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "comfylatch-machine-")
		noError(t, err)
		defer os.RemoveAll(dir)
		m := &machine{h: enter(t, dir), dir: dir, owner: ownersPassword, links: map[string]string{}}
		defer func() { m.h.stop() }()
		_, _, err = m.h.login.SetUp(t.Context(), "Ada", m.owner, "", login.Client{Local: true})
		noError(t, err)
		m.invite(t)
		t.Repeat(map[string]func(*rapid.T){
			"invite": m.invite, "log in": m.logIn, "make a token": m.makeToken, "role": m.setRole, "disable or enable": m.toggle, "remove": m.remove,
			"change the password": m.changePassword, "reset": m.reset, "end a session": m.endSession, "the owner logs in": m.ownerLogsIn, "restart": m.restart,
			"": m.check,
		})
	})
}
