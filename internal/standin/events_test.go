package standin

import (
	"encoding/json"
	"strings"
	"testing"
)

const wantMetadata = `{"type":"feature_flags","data":{"supports_preview_metadata":true}}`

func TestPreviewsComeInTheFormThatTheClientNegotiated(t *testing.T) {
	l := start(t, Config{})
	for _, c := range []struct {
		name  string
		flags []string
		want  string
	}{
		{"without flags", nil, "binary 1"},
		{"with flags", []string{wantMetadata}, "binary 4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := l.listenAs(t, newHex(), c.flags...)
			sid := ""
			for s := range l.hub.sockets {
				sid = s
			}
			l.entry(t, l.prompt(t, slow(2, len(c.flags)), `"client_id":"`+sid+`"`))
			got := e.heard()
			if !has(got, c.want) || !has(got, "progress") || !has(got, "end") {
				t.Errorf("heard %q, want %s among progress", got, c.want)
			}
			e.conn.CloseNow()
			for l.connected(sid) {
			}
		})
	}
}

func (l live) connected(sid string) bool {
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	return l.hub.sockets[sid] != nil
}

func TestPromptWithoutClientShowsItsProgressToEverybody(t *testing.T) {
	l := start(t, Config{})
	e := l.listenAs(t, "bystander")
	l.entry(t, l.prompt(t, slow(2, 3)))
	got := e.heard()
	for _, kind := range []string{"progress_state", "progress", "binary 1", "status"} {
		if !has(got, kind) {
			t.Errorf("the bystander heard %q, without %s", got, kind)
		}
	}
	for _, kind := range []string{"executing", "executed", "execution_start", "end"} {
		if has(got, kind) {
			t.Errorf("the bystander heard %s", kind)
		}
	}
}

func TestEventsGoToWhoeverHoldsTheClientID(t *testing.T) {
	l := start(t, Config{})
	victim := l.listenAs(t, "shared")
	thief := l.listenAs(t, "shared")
	l.entry(t, l.prompt(t, paint(1), `"client_id":"shared"`))
	if got := thief.heard(); !has(got, "executed") {
		t.Errorf("the newer socket heard %q", got)
	}
	if got := victim.heard(); len(got) != 0 {
		t.Errorf("the older socket heard %q, want nothing", got)
	}
	victim.conn.CloseNow()
	for l.connected("shared") {
	}
	l.entry(t, l.prompt(t, paint(2), `"client_id":"shared"`))
	if got := thief.heard(); len(got) != 0 {
		t.Errorf("after the older one has closed the newer heard %q, want nothing", got)
	}
}

func TestReconnectingClientLearnsWhichNodeRuns(t *testing.T) {
	l := start(t, Config{})
	id := l.prompt(t, slow(1, 60000), `"client_id":"me"`)
	l.waitRunning(t, id)
	if got := l.listenAs(t, "me").heard(); !has(got, "executing") {
		t.Errorf("heard %q, want executing", got)
	}
	l.call(t, "POST", "/interrupt", "{}")
	l.entry(t, id)
}

func TestLogGoesToSubscribedSocketsOnly(t *testing.T) {
	l := start(t, Config{})
	curious, other := l.listenAs(t, "curious"), l.listenAs(t, "other")
	if status, _ := l.call(t, "PATCH", "/internal/logs/subscribe", `{"clientId":"curious","enabled":true}`); status != 200 {
		t.Fatalf("subscribe: %d", status)
	}
	l.entry(t, l.prompt(t, paint(3)))
	if got := curious.heard(); !has(got, "logs") {
		t.Errorf("the subscriber heard %q", got)
	}
	if got := other.heard(); has(got, "logs") {
		t.Errorf("the other heard %q", got)
	}
	_, raw := l.call(t, "GET", "/internal/logs/raw", "")
	if !strings.Contains(raw, "got prompt") || !json.Valid([]byte(raw)) {
		t.Errorf("the log is %s", raw)
	}
}

func TestCloseEndsSockets(t *testing.T) {
	s, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	l := serve(t, s)
	e := l.listenAs(t, "x")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := e.heard(); !has(got, "closed") {
		t.Errorf("heard %q, want the end of the connection", got)
	}
}
