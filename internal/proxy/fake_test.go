package proxy

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"comfylatch/internal/account"
	"comfylatch/internal/comfy"
	"comfylatch/internal/upstream"
)

// fakeComfy is a ComfyUI that works on raw connections: tests see exactly what
// came, and say exactly what goes back.
type fakeComfy struct {
	net.Listener
	// answer is called for each request; false ends the connection.
	answer func(c net.Conn, br *bufio.Reader, r *http.Request) bool

	mu    sync.Mutex
	heads []string // request line and headers, as they came
}

func newFakeComfy(t *testing.T, answer func(c net.Conn, br *bufio.Reader, r *http.Request) bool) *fakeComfy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if answer == nil {
		answer = func(c net.Conn, _ *bufio.Reader, r *http.Request) bool {
			io.Copy(io.Discard, r.Body)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			return true
		}
	}
	f := &fakeComfy{Listener: l, answer: answer}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { f.serve(c) })
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return f
}

// tee keeps what was read.
type tee struct {
	net.Conn
	read bytes.Buffer
	off  bool
}

func (c *tee) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if !c.off {
		c.read.Write(p[:n])
	}
	return n, err
}

func (f *fakeComfy) serve(c net.Conn) {
	defer c.Close()
	t := &tee{Conn: c}
	br := bufio.NewReader(t)
	for {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		head, _, _ := strings.Cut(t.read.String(), "\r\n\r\n")
		f.mu.Lock()
		f.heads = append(f.heads, head)
		f.mu.Unlock()
		t.off = true // bodies may be large
		if !f.answer(c, br, r) {
			return
		}
		t.off = false
		// What was read ahead belongs to the next request.
		ahead, _ := br.Peek(br.Buffered())
		t.read.Reset()
		t.read.Write(ahead)
	}
}

// seen gives the heads of all requests that came.
func (f *fakeComfy) seen() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.heads...)
}

// only gives the one head that came.
func (f *fakeComfy) only(t *testing.T) string {
	t.Helper()
	heads := f.seen()
	if len(heads) != 1 {
		t.Fatalf("ComfyUI saw %d requests, want 1: %q", len(heads), heads)
	}
	return heads[0]
}

// gate is a Proxy behind a real HTTP server, as the room server runs it.
type gate struct {
	*Proxy
	srv  *httptest.Server
	comf *fakeComfy
}

func newGate(t *testing.T, f *fakeComfy, o Options) *gate {
	t.Helper()
	g := &gate{comf: f}
	if o.Upstream == nil {
		s, err := upstream.New(upstream.Options{URL: &url.URL{Scheme: "http", Host: f.Addr().String()}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		o.Upstream = s
	}
	if o.OurCookie == nil {
		o.OurCookie = func(name string) bool { return name == "latch" || name == "__Host-latch" }
	}
	g.Proxy = New(o)
	g.srv = httptest.NewServer(g)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := g.Shutdown(ctx); err != nil {
			t.Errorf("sockets did not end: %v", err)
		}
		g.srv.Close()
	})
	return g
}

// ServeHTTP stands for the rooms in front: X-Test-Who says who somebody is.
func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	req, err := comfy.Parse(r.Method, r.RequestURI)
	if err != nil {
		http.Error(w, "ambiguous", http.StatusBadRequest)
		return
	}
	name := r.Header.Get("X-Test-Who")
	if name == "" {
		name = "ann"
	}
	g.Proxy.ServeHTTP(w, r, req, account.Principal{Role: account.User, UserID: name, Name: name})
}

func (g *gate) addr() string { return g.srv.Listener.Addr().String() }

// dial opens a raw connection to the gate.
func (g *gate) dial(t *testing.T) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", g.addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	return c, bufio.NewReader(c)
}

// raw sends bytes and reads one answer. "Host:" is put where HOST stands.
func (g *gate) raw(t *testing.T, request string) (*http.Response, string) {
	t.Helper()
	c, br := g.dial(t)
	io.WriteString(c, crlf(request))
	return readAnswer(t, br, strings.HasPrefix(request, "HEAD "))
}

func readAnswer(t *testing.T, br *bufio.Reader, head bool) (*http.Response, string) {
	t.Helper()
	var r *http.Request
	if head {
		r = &http.Request{Method: "HEAD"}
	}
	res, err := http.ReadResponse(br, r)
	if err != nil {
		t.Fatalf("read an answer: %v", err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Logf("body: %v", err)
	}
	return res, string(body)
}

// crlf lets tests write requests with plain line ends.
func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

// hasHeader tells whether a raw head has a header of that name, in any case.
func hasHeader(head, name string) bool {
	return strings.Contains(strings.ToLower(head), "\r\n"+strings.ToLower(name)+":")
}

func wantHeader(t *testing.T, head, line string) {
	t.Helper()
	if !strings.Contains(head+"\r\n", "\r\n"+line+"\r\n") {
		t.Errorf("ComfyUI did not get %q:\n%s", line, head)
	}
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
