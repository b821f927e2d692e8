package upstream

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// restartable is a server that can end and come back at the same address.
type restartable struct {
	t       *testing.T
	address string
	srv     *httptest.Server
}

func newRestartable(t *testing.T) *restartable {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &restartable{t: t, address: l.Addr().String()}
	l.Close()
	t.Cleanup(r.stop)
	return r
}

func (r *restartable) start(h http.Handler) {
	r.t.Helper()
	l, err := net.Listen("tcp", r.address)
	if err != nil {
		r.t.Fatal(err)
	}
	r.srv = httptest.NewUnstartedServer(h)
	r.srv.Listener.Close()
	r.srv.Listener = l
	r.srv.Start()
}

func (r *restartable) stop() {
	if r.srv != nil {
		r.srv.Listener.Close() // first, so that nobody comes back to what is ending
		r.srv.CloseClientConnections()
		r.srv.Close()
		r.srv = nil
	}
}

func TestStateFollowsComfyUI(t *testing.T) {
	r := newRestartable(t)
	var mu sync.Mutex
	var ups []uint64
	s := newServer(t, "http://"+r.address, Options{Starts: true, OnUp: func(g uint64) {
		mu.Lock()
		ups = append(ups, g)
		mu.Unlock()
	}})
	run(t, s)
	if got := s.State(); got != Starting {
		t.Errorf("state is %s, want starting", got)
	}
	eventually(t, "refused while it starts", func() bool {
		return errors.Is(ask(t, s, "GET", ""), ErrUnavailable)
	})
	r.start(newFakeComfy())
	eventually(t, "up", func() bool { return s.State() == Up })
	if s.Version() != "0.24.0" || s.Generation() != 1 {
		t.Errorf("version %q, generation %d", s.Version(), s.Generation())
	}
	r.stop()
	eventually(t, "down", func() bool { return s.State() == Down })
	if err := ask(t, s, "POST", "{}"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("error is %v, want ErrUnavailable", err)
	}
	newer := newFakeComfy()
	newer.version = "0.25.0"
	r.start(newer)
	eventually(t, "up again", func() bool { return s.State() == Up })
	if s.Version() != "0.25.0" || s.Generation() != 2 {
		t.Errorf("version %q, generation %d", s.Version(), s.Generation())
	}
	mu.Lock()
	defer mu.Unlock()
	if len(ups) != 2 || ups[0] != 1 || ups[1] != 2 {
		t.Errorf("told of generations %v", ups)
	}
}

func TestRestartBetweenTwoProbesIsNoticed(t *testing.T) {
	f := newFakeComfy()
	s, ts := serve(t, f, Options{ProbeEvery: 1 << 40}) // none by the clock
	run(t, s)
	eventually(t, "up", func() bool { return s.State() == Up })
	ts.CloseClientConnections() // all that a very quick restart shows
	eventually(t, "a new generation", func() bool { return s.Generation() == 2 && s.State() == Up })
}

func TestServerWithoutKeepAliveIsNoRestart(t *testing.T) {
	f := newFakeComfy()
	s, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		f.ServeHTTP(w, r)
	}), Options{})
	run(t, s)
	eventually(t, "some probes", func() bool { return f.count("GET /prompt") > 5 })
	if g := s.Generation(); g != 1 {
		t.Errorf("generation %d, want 1", g)
	}
}

func TestWhatIsNotComfyUIIsNeverUp(t *testing.T) {
	var mu sync.Mutex
	asked := 0
	s, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked++
		mu.Unlock()
		http.NotFound(w, r)
	}), Options{})
	run(t, s)
	eventually(t, "probed", func() bool { mu.Lock(); defer mu.Unlock(); return asked > 3 })
	if got := s.State(); got != Down {
		t.Errorf("state is %s, want down", got)
	}
}

func TestFailedRequestMakesRunLook(t *testing.T) {
	f := newFakeComfy()
	s, _ := serve(t, f, Options{ProbeEvery: 1 << 40})
	run(t, s)
	eventually(t, "up", func() bool { return s.State() == Up })
	n := f.count("GET /prompt")
	s.status.suspect()
	eventually(t, "probed", func() bool { return f.count("GET /prompt") > n })
	if s.State() != Up || s.Generation() != 1 {
		t.Errorf("state %s, generation %d", s.State(), s.Generation())
	}
}
