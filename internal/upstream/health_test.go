package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestHealth(t *testing.T) {
	f := newFakeComfy()
	f.left = 3
	f.queue = `{"queue_running": [[0, "a", {"x": [1, 2]}, {}, []]], "queue_pending": [[1, "b", {}, {}, []], [2, "c", {}, {}, []]]}`
	s, _ := serve(t, f, Options{})
	h := s.Health(t.Context())
	got, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"status":"ok","queue":{"pending":2,"running":1},"device":{"name":"cuda:0 Card","type":"cuda"},"vram":{"total":2000,"free":500}}`
	if string(got) != want || !h.OK() {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestHealthIsAskedOnceASecondForAll(t *testing.T) {
	f := newFakeComfy()
	f.block = make(chan struct{})
	s, _ := serve(t, f, Options{})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if h := s.Health(context.Background()); !h.OK() {
				t.Errorf("got %+v", h)
			}
		})
	}
	eventually(t, "asked", func() bool { return f.count("GET /system_stats") > 0 })
	close(f.block)
	wg.Wait()
	// All who waited share one answer. A slow machine may need a second one
	// for those who came late.
	if n := f.count("GET /system_stats"); n > 2 {
		t.Errorf("ComfyUI was asked %d times for 20", n)
	}
	s.health.mu.Lock()
	s.health.at = time.Now().Add(-healthFresh)
	s.health.mu.Unlock()
	before := f.count("GET /system_stats")
	s.Health(t.Context())
	if n := f.count("GET /system_stats"); n != before+1 {
		t.Errorf("an old answer was given again")
	}
	if n := f.count("GET /queue"); n != 0 {
		t.Errorf("the whole queue was asked for %d times although it is empty", n)
	}
}

func TestHealthSurvivesTheOneWhoAskedFirst(t *testing.T) {
	f := newFakeComfy()
	f.block = make(chan struct{})
	s, _ := serve(t, f, Options{})
	first, leave := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { s.Health(first) })
	eventually(t, "asked", func() bool { return f.count("GET /system_stats") == 1 })
	wg.Go(func() {
		if h := s.Health(context.Background()); !h.OK() {
			t.Errorf("got %+v", h)
		}
	})
	leave()
	close(f.block)
	wg.Wait()
}

func TestHealthUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	s := newServer(t, "http://"+l.Addr().String(), Options{})
	if h := s.Health(t.Context()); h.OK() || h.Status != "unreachable" {
		t.Errorf("got %+v", h)
	}
}

func TestIdentify(t *testing.T) {
	for _, c := range []struct {
		name, want string
		status     int
		body       string
	}{
		{"another program", "gave 404 Not Found", 404, "no"},
		{"a page", "something else", 200, "<html>"},
		{"JSON of another shape", "something else", 200, `{"status":"ok"}`},
		{"a gate that asks for a login", "already asks for a login", 401, `{}`},
		{"a gate that leads to its login", "leads elsewhere", 302, ``},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(c.status)
				fmt.Fprint(w, c.body)
			}), Options{})
			err := s.Identify(t.Context())
			if !errors.Is(err, ErrNotComfyUI) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), s.URL()) {
				t.Errorf("error is %v, want one with %q and the address", err, c.want)
			}
		})
	}
	t.Run("a failure says nothing about what it is", func(t *testing.T) {
		s, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "no", http.StatusBadGateway)
		}), Options{})
		if err := s.Identify(t.Context()); !errors.Is(err, ErrUnavailable) {
			t.Errorf("error is %v, want ErrUnavailable", err)
		}
	})
	t.Run("ComfyUI", func(t *testing.T) {
		s, _ := serve(t, newFakeComfy(), Options{})
		if err := s.Identify(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s.Version() != "0.24.0" {
			t.Errorf("version %q", s.Version())
		}
	})
}

func TestFree(t *testing.T) {
	f := newFakeComfy()
	s, _ := serve(t, f, Options{})
	if err := s.Free(t.Context()); err != nil {
		t.Fatal(err)
	}
	var asked map[string]bool
	if err := json.Unmarshal([]byte(f.bodies["POST /free"]), &asked); err != nil || !asked["unload_models"] || !asked["free_memory"] {
		t.Errorf("asked for %v, error %v", asked, err)
	}
	f.left = 7
	if n, err := s.QueueLength(t.Context()); n != 7 || err != nil {
		t.Errorf("queue length %d, error %v", n, err)
	}
}
