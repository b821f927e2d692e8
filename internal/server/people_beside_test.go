package server

import (
	"context"
	"log/slog"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/coder/websocket"

	"comfylatch/internal/account"
	"comfylatch/internal/audit"
	"comfylatch/internal/login"
	"comfylatch/internal/people"
	"comfylatch/internal/store"
)

// What the command line does beside a running gate, in a process of its own,
// ends sessions, tokens and open sockets within a second or two.
func TestTheCommandLineEndsSocketsOfTheRunningGate(t *testing.T) {
	h := newHouse(t, nil)
	h.setUp()
	bo, cy := h.person("Bo", account.User), h.person("Cy", account.User)
	token, _, err := h.people.MakeToken(t.Context(), bo.who, login.NewToken{Name: "script", Role: account.User})
	if err != nil {
		t.Fatal(err)
	}
	socket := func(key, value string) *websocket.Conn {
		t.Helper()
		c, _, err := websocket.Dial(t.Context(), h.url+"/ws", &websocket.DialOptions{HTTPHeader: http.Header{key: {value}, "Origin": {h.url}}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.CloseNow() })
		return c
	}
	byCookie, byToken, others := socket("Cookie", bo.cookie), socket("Authorization", "Bearer "+token.Reveal()), socket("Cookie", cy.cookie)

	beside := must[*store.DB](t)(store.Open(t.Context(), filepath.Join(h.state, store.FileName)))
	defer beside.Close()
	command := people.New(people.Options{Store: beside, Audit: audit.New(beside, slog.New(slog.DiscardHandler))})
	done := time.Now()
	if err := command.Disable(t.Context(), people.Command(), bo.who.UserID); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*websocket.Conn{"session": byCookie, "token": byToken} {
		if err := drain(t, c, 10*time.Second); websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
			t.Errorf("the %s's socket ended with %v after %v", name, err, time.Since(done))
		}
	}
	h.wantStatus(h.get("/queue", "Cookie: "+bo.cookie), 401)
	h.wantStatus(h.get("/queue", "Authorization: Bearer "+token.Reveal()), 401)
	if err := drain(t, others, 300*time.Millisecond); websocket.CloseStatus(err) != -1 {
		t.Errorf("another's socket was closed: %v", err)
	}
	h.wantStatus(h.get("/queue", "Cookie: "+cy.cookie), 200)
}

// drain reads until the socket ends, and says how.
func drain(t *testing.T, c *websocket.Conn, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for {
		if _, _, err := c.Read(ctx); err != nil {
			return err
		}
	}
}
