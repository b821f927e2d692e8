package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"comfylatch/internal/upstream"
)

// absent is a ComfyUI that is not there.
type absent struct{ state upstream.State }

func (a absent) RoundTrip(r *http.Request) (*http.Response, error) {
	return nil, fmt.Errorf("%w: secret detail", upstream.ErrUnavailable)
}
func (a absent) DialSocket(context.Context) (net.Conn, error) {
	return nil, fmt.Errorf("%w: secret detail", upstream.ErrUnavailable)
}
func (a absent) Host() string          { return "x" }
func (a absent) State() upstream.State { return a.state }

func TestUnavailable(t *testing.T) {
	const page = "the page"
	for _, c := range []struct {
		name, request string
		state         upstream.State
		status        int
		body          string
	}{
		{"navigation while it starts", "GET / HTTP/1.1\nSec-Fetch-Mode: navigate\nHost: x\n\n", upstream.Starting, 599, page},
		{"navigation of an old browser", "GET / HTTP/1.1\nAccept: text/html,*/*\nHost: x\n\n", upstream.Down, 599, page},
		{"script while it starts", "GET /api/queue HTTP/1.1\nSec-Fetch-Mode: cors\nHost: x\n\n", upstream.Starting, 503, `{"error":"ComfyUI is starting`},
		{"script while it is down", "GET /api/queue HTTP/1.1\nAccept: */*\nHost: x\n\n", upstream.Down, 502, `{"error":"ComfyUI does not answer`},
		{"a form", "POST /prompt HTTP/1.1\nAccept: text/html\nHost: x\nContent-Length: 2\n\n{}", upstream.Down, 502, `{"error":"`},
		{"F12 a large upload", "POST /upload/image HTTP/1.1\nHost: x\nExpect: 100-continue\nContent-Length: 10000000000\n\n", upstream.Down, 502, `{"error":"`},
		{"socket while it starts", "GET /ws HTTP/1.1\nHost: x\n" + handshake + "\n", upstream.Starting, 503, `{"error":"ComfyUI is starting`},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGate(t, nil, Options{Upstream: absent{c.state}, Unavailable: func(w http.ResponseWriter, r *http.Request, s upstream.State) {
				if s != c.state {
					t.Errorf("told of state %s, want %s", s, c.state)
				}
				w.WriteHeader(599)
				fmt.Fprint(w, page)
			}})
			res, body := g.raw(t, c.request)
			if res.StatusCode != c.status || !strings.HasPrefix(body, c.body) || strings.Contains(body, "secret") {
				t.Errorf("got %d %q", res.StatusCode, body)
			}
		})
	}
}

type hanging struct{ absent }

func (hanging) RoundTrip(*http.Request) (*http.Response, error) { return nil, timeout{} }

type timeout struct{}

func (timeout) Error() string   { return "secret detail" }
func (timeout) Timeout() bool   { return true }
func (timeout) Temporary() bool { return true }

func TestTimeOutIs504(t *testing.T) {
	g := newGate(t, nil, Options{Upstream: hanging{}})
	res, body := g.raw(t, "GET /queue HTTP/1.1\nHost: x\n\n")
	if res.StatusCode != 504 || strings.Contains(body, "secret") {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
}

func TestShutdownWithoutSocketsIsQuick(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := New(Options{Upstream: absent{}})
	if err := p.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	cancel()
	if err := p.Shutdown(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
