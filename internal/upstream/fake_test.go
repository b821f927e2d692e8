package upstream

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"
)

// fakeComfy answers what is asked of a ComfyUI, and counts it.
type fakeComfy struct {
	mu      sync.Mutex
	asked   map[string]int // by "METHOD path"
	bodies  map[string]string
	queue   string
	left    int
	version string
	block   chan struct{} // /system_stats waits for it, if there is one
}

func newFakeComfy() *fakeComfy {
	return &fakeComfy{asked: map[string]int{}, bodies: map[string]string{}, version: "0.24.0",
		queue: `{"queue_running": [], "queue_pending": []}`}
}

func (f *fakeComfy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	f.asked[r.Method+" "+r.URL.Path]++
	f.bodies[r.Method+" "+r.URL.Path] = string(body)
	block, left, queue, version := f.block, f.left, f.queue, f.version
	f.mu.Unlock()
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	switch r.URL.Path {
	case "/prompt":
		fmt.Fprintf(w, `{"exec_info": {"queue_remaining": %d}}`, left)
	case "/queue":
		io.WriteString(w, queue)
	case "/system_stats":
		if block != nil {
			<-block
		}
		fmt.Fprintf(w, `{"system": {"os": "linux", "comfyui_version": %q},
			"devices": [{"name": "cuda:0 Card", "type": "cuda", "index": 0, "vram_total": 2000, "vram_free": 500}]}`, version)
	case "/free":
	default:
		http.NotFound(w, r)
	}
}

func (f *fakeComfy) count(what string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked[what]
}

// serve puts a handler behind a Server of ours.
func serve(t *testing.T, h http.Handler, o Options) (*Server, *httptest.Server) {
	t.Helper()
	ts := httptest.NewServer(h)
	t.Cleanup(ts.Close)
	s := newServer(t, ts.URL, o)
	return s, ts
}

func newServer(t *testing.T, address string, o Options) *Server {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	o.URL = u
	if o.ProbeEvery == 0 {
		o.ProbeEvery = 5 * time.Millisecond
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// run runs s.Run until the test ends.
func run(t *testing.T, s *Server) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { s.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
}

// eventually waits for something that must come true, for as long as a very
// slow machine may need.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never came true: %s", what)
		}
	}
}
