package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"testing"
)

func get(t *testing.T, s *Server, opaque, query string, h http.Header) *http.Response {
	t.Helper()
	r := (&http.Request{Method: "GET", URL: &url.URL{Opaque: opaque, RawQuery: query}, Header: h}).WithContext(t.Context())
	res, err := s.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res
}

func TestTargetGoesAsItIs(t *testing.T) {
	var seen string
	s, ts := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r.RequestURI + " " + r.Host
	}), Options{})
	get(t, s, "/api/userdata/workflows%2Fa%20b.json", "preview=webp;90&x=%2f+", http.Header{})
	want := "/api/userdata/workflows%2Fa%20b.json?preview=webp;90&x=%2f+ " + ts.Listener.Addr().String()
	if seen != want {
		t.Errorf("ComfyUI saw %q, want %q", seen, want)
	}
}

func TestBodiesStayCompressedAndRedirectsAreNotFollowed(t *testing.T) {
	s, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/away" {
			http.Redirect(w, r, "/there", http.StatusFound)
			return
		}
		if got := r.Header.Get("Accept-Encoding"); got != "" {
			t.Errorf("Accept-Encoding %q was added", got)
		}
		w.Header().Set("Content-Encoding", "gzip")
		io.WriteString(w, "not really gzip")
	}), Options{})
	res := get(t, s, "/x", "", http.Header{})
	if body, _ := io.ReadAll(res.Body); string(body) != "not really gzip" || res.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("got %q, %v", body, res.Header)
	}
	if res := get(t, s, "/away", "", http.Header{}); res.StatusCode != http.StatusFound {
		t.Errorf("status %d, want the redirect itself", res.StatusCode)
	}
}

func TestProxyOfTheEnvironmentIsNotUsed(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("http_proxy", "http://127.0.0.1:1")
	s, _ := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), Options{})
	if s.transport.Proxy != nil {
		t.Error("the transport has a proxy")
	}
	get(t, s, "/x", "", http.Header{})
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Skip("no unix sockets here:", err)
	}
	f := newFakeComfy()
	srv := &http.Server{Handler: f}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	s := newServer(t, "unix://"+path, Options{})
	if err := s.Identify(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestHTTPSUpstream(t *testing.T) {
	f := newFakeComfy()
	ts := httptest.NewTLSServer(f)
	t.Cleanup(ts.Close)
	pool := x509.NewCertPool()
	pool.AddCert(ts.Certificate())
	s := newServer(t, ts.URL, Options{TLS: &tls.Config{RootCAs: pool}})
	run(t, s)
	eventually(t, "up", func() bool { return s.State() == Up })
	if s.Version() != "0.24.0" {
		t.Errorf("version %q", s.Version())
	}
	c, err := s.DialSocket(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}
