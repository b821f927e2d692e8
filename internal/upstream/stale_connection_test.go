package upstream

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

// oneThenCut is a server that answers the first request of each connection
// and ends the connection when a second one arrives, or at once.
type oneThenCut struct {
	net.Listener
	atOnce      bool
	gets, posts atomic.Int32
	cut         chan struct{} // told after a connection was ended
}

func newOneThenCut(t *testing.T, atOnce bool) *oneThenCut {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &oneThenCut{Listener: l, atOnce: atOnce, cut: make(chan struct{}, 10)}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go f.handle(c)
		}
	}()
	return f
}

func (f *oneThenCut) handle(c net.Conn) {
	defer func() { c.Close(); f.cut <- struct{}{} }()
	br := bufio.NewReader(c)
	for i := range 2 {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		io.Copy(io.Discard, r.Body)
		if r.Method == http.MethodPost {
			f.posts.Add(1)
		} else {
			f.gets.Add(1)
		}
		if i == 1 {
			return
		}
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		if f.atOnce {
			return
		}
	}
}

func ask(t *testing.T, s *Server, method, body string) error {
	t.Helper()
	r := (&http.Request{Method: method, URL: &url.URL{Opaque: "/prompt"}, Header: http.Header{}}).WithContext(t.Context())
	if body != "" {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	}
	res, err := s.RoundTrip(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if got, err := io.ReadAll(res.Body); err != nil || string(got) != "ok" {
		t.Errorf("body %q, error %v", got, err)
	}
	return nil
}

func TestF13StaleKeepAlive(t *testing.T) {
	t.Run("F13 a POST that was sent is not sent again", func(t *testing.T) {
		f := newOneThenCut(t, false)
		s := newServer(t, "http://"+f.Addr().String(), Options{})
		if err := ask(t, s, "GET", ""); err != nil {
			t.Fatal(err)
		}
		err := ask(t, s, "POST", "{}")
		if err == nil || errors.Is(err, ErrUnavailable) {
			t.Errorf("error is %v, want one that does not say that nothing was sent", err)
		}
		if n := f.posts.Load(); n != 1 {
			t.Errorf("ComfyUI saw %d POSTs, want 1", n)
		}
	})
	t.Run("F13 a POST after an idle connection was closed is sent at most once", func(t *testing.T) {
		for range 20 {
			f := newOneThenCut(t, true)
			s := newServer(t, "http://"+f.Addr().String(), Options{})
			if err := ask(t, s, "GET", ""); err != nil {
				t.Fatal(err)
			}
			<-f.cut
			err := ask(t, s, "POST", "{}")
			n := f.posts.Load()
			if n > 1 || (err == nil) != (n == 1) {
				t.Fatalf("ComfyUI saw %d POSTs, error %v", n, err)
			}
		}
	})
	t.Run("F13 a GET is tried again on a fresh connection", func(t *testing.T) {
		f := newOneThenCut(t, false)
		s := newServer(t, "http://"+f.Addr().String(), Options{})
		for range 2 {
			if err := ask(t, s, "GET", ""); err != nil {
				t.Fatal(err)
			}
		}
		if n := f.gets.Load(); n != 3 {
			t.Errorf("ComfyUI saw %d GETs, want 3", n)
		}
	})
}

func TestNothingSentIsSaid(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	s := newServer(t, "http://"+address, Options{})
	if err := ask(t, s, "POST", "{}"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("error is %v, want ErrUnavailable", err)
	}
	if _, err := s.DialSocket(t.Context()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("error is %v, want ErrUnavailable", err)
	}
}
