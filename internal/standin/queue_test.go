package standin

import (
	"context"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// serve listens without running the queue.
func serve(t *testing.T, s *Server) live {
	t.Helper()
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	return live{s, h.URL}
}

func TestPromptsRunByNumberThenFrontThenOrder(t *testing.T) {
	s, err := New(Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	l := serve(t, s)
	var want [5]string
	want[3] = l.prompt(t, paint(1)) // number 0
	want[4] = l.prompt(t, paint(2)) // number 1
	want[1] = l.prompt(t, paint(3), `"front":true`)
	want[0] = l.prompt(t, paint(4), `"number":-50`)
	want[2] = l.prompt(t, paint(5), `"number":-0.5`)
	if n := s.queue.remaining(); n != 5 {
		t.Fatalf("%d prompts wait, want 5: nothing runs without Run", n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	for _, id := range want {
		l.entry(t, id)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	var got []string
	for _, it := range s.queue.past() {
		got = append(got, it.id)
	}
	if !slices.Equal(got, want[:]) {
		t.Errorf("ran in the order %q, want %q", got, want)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestInterrupt(t *testing.T) {
	for _, c := range []struct {
		name, body string
		stops      bool
	}{
		{"of another prompt does nothing", `{"prompt_id":"other"}`, false},
		{"of the running prompt stops it", `{"prompt_id":"RUNNING"}`, true},
		{"without an id stops whoever runs", `{}`, true},
		{"without a body stops whoever runs", ``, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := start(t, Config{})
			id := l.prompt(t, slow(1, 60000))
			l.waitRunning(t, id)
			status, _ := l.call(t, "POST", "/interrupt", strings.ReplaceAll(c.body, "RUNNING", id))
			if status != 200 {
				t.Fatalf("status %d", status)
			}
			if !c.stops {
				if r, _ := l.queue.lists(); len(r) != 1 {
					t.Errorf("the prompt is gone")
				}
				l.call(t, "POST", "/interrupt", "{}")
			}
			e := l.entry(t, id)
			if got := string(dumps(e.object("status"))); !strings.Contains(got, "execution_interrupted") {
				t.Errorf("the history says %s", got)
			}
		})
	}
}

func TestWaitingPromptsCanBeTakenOut(t *testing.T) {
	l := start(t, Config{})
	running := l.prompt(t, slow(1, 60000))
	l.waitRunning(t, running)
	a, b := l.prompt(t, paint(1)), l.prompt(t, paint(2))
	l.call(t, "POST", "/queue", fmt.Sprintf(`{"delete":[%q,%q]}`, a, running))
	r, pending := l.queue.lists()
	if len(r) != 1 || len(pending) != 1 || pending[0].id != b {
		t.Errorf("after deleting %s: %d running, waiting %v", a, len(r), pending)
	}
	l.call(t, "POST", "/queue", `{"clear":true}`)
	if _, body := l.call(t, "GET", "/prompt", ""); body != `{"exec_info": {"queue_remaining": 1}}` {
		t.Errorf("after clearing: %s", body)
	}
	l.call(t, "POST", "/interrupt", "")
	l.entry(t, running)
}

func TestComfyOrgCredentialsShowWhereTheVersionShowsThem(t *testing.T) {
	for version, inQueue := range map[string]bool{Version0_3_64: true, Version0_24_0: false} {
		t.Run(version, func(t *testing.T) {
			l := start(t, Config{Version: version})
			running := l.prompt(t, slow(1, 60000), `"extra_data":{"api_key_comfy_org":"geheim"}`)
			l.waitRunning(t, running)
			if _, body := l.call(t, "GET", "/queue", ""); strings.Contains(body, "geheim") != inQueue {
				t.Errorf("key in /queue: %v, want %v", !inQueue, inQueue)
			}
			l.call(t, "POST", "/interrupt", "")
			l.entry(t, running)
			if _, body := l.call(t, "GET", "/history", ""); strings.Contains(body, "geheim") {
				t.Errorf("the key is in the history: %s", body)
			}
		})
	}
}

func TestHistoryPages(t *testing.T) {
	l := start(t, Config{})
	var ids []string
	for i := range 4 {
		ids = append(ids, l.prompt(t, paint(i)))
		l.entry(t, ids[i])
	}
	for query, want := range map[string][]string{"": ids, "?max_items=2": ids[2:], "?max_items=2&offset=1": ids[1:3], "?max_items=0": nil,
		"?max_items=9&offset=9": nil, "?max_items=2&offset=-7": ids[2:]} {
		_, body := l.call(t, "GET", "/history"+query, "")
		v, err := parse(strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if got := v.(*object).keys; !slices.Equal(got, want) {
			t.Errorf("%q gives %q, want %q", query, got, want)
		}
	}
}
