// Package upstream holds the connections to the one ComfyUI behind the gate:
// the pooled round tripper, raw connections for WebSockets, its health, and
// the supervised child process.
//
// It knows nothing of visitors: who may ask for what is decided before, and
// what is sent is written by room proxy.
//
// The rule that must hold: a request that may change something is never sent
// twice. A stale pooled connection is replaced only while nothing of the
// request has been sent (RFC 9110 section 9.2.2).
package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// ErrUnavailable is what RoundTrip and DialSocket return, wrapped, when
// ComfyUI cannot be reached: nothing was sent.
var ErrUnavailable = errors.New("ComfyUI cannot be reached")

// Options say which ComfyUI, and how to treat it. Only URL is needed.
type Options struct {
	URL *url.URL    // http://host:port, https://host:port or unix:///path
	TLS *tls.Config // for https; nil checks certificates against the system's roots
	Log *slog.Logger
	// Starts says that ComfyUI has just been started: it counts as Starting,
	// not Down, until it answers for the first time.
	Starts bool
	// OnUp is called by Run each time that ComfyUI has come (back): what was
	// learnt from it before may be wrong now. generation counts from 1.
	OnUp func(generation uint64)
	// Sign may add to the header of every request that is sent. May be nil.
	Sign func(http.Header)
	// ProbeEvery is the time between probes while ComfyUI is not up; five
	// times that while it is. Default one second.
	ProbeEvery time.Duration
}

// Server is the ComfyUI behind the gate. It is safe for concurrent use.
type Server struct {
	opts      Options
	log       *slog.Logger
	tls       *tls.Config // nil for plain connections
	network   string      // "tcp" or "unix"
	address   string
	host      string          // the Host header
	pool      pool            // of plain connections
	transport *http.Transport // for https, and where pooled connections cannot be looked at

	status status
	health healthCache
}

const (
	dialTimeout = 5 * time.Second
	// aiohttp closes idle connections after 75 s. Ours go well before, so that
	// a request hardly ever meets a connection that is just being closed.
	idleTimeout    = 30 * time.Second
	maxIdle        = 256
	maxHeaderBytes = 256 << 10
)

// New checks the address. It opens no connection and starts nothing.
func New(o Options) (*Server, error) {
	s := &Server{opts: o, log: o.Log, network: "tcp"}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.opts.ProbeEvery <= 0 {
		s.opts.ProbeEvery = time.Second
	}
	if err := s.setAddress(o.URL); err != nil {
		return nil, err
	}
	s.status.init(o.Starts)
	s.transport = &http.Transport{
		Proxy:                  nil, // ComfyUI is near; $HTTP_PROXY is not meant for it
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return s.dialPlain(ctx) },
		DialTLSContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return s.dial(ctx) },
		DisableCompression:     true, // bodies pass as they are
		MaxIdleConns:           maxIdle,
		MaxIdleConnsPerHost:    maxIdle,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		WriteBufferSize:        16 << 10,
		ReadBufferSize:         16 << 10,
		TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{}, // HTTP/1.1 only
	}
	return s, nil
}

func (s *Server) setAddress(u *url.URL) error {
	if u == nil {
		return errors.New("no address of ComfyUI given")
	}
	bad := func(why string) error {
		return fmt.Errorf("address of ComfyUI %q: %s; write it like http://127.0.0.1:8188", u.Redacted(), why)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return bad("it may hold only scheme, host and port")
	}
	port := ""
	switch u.Scheme {
	case "unix":
		if u.Path == "" || u.Host != "" {
			return bad("a socket is written unix:///path/to/socket")
		}
		s.network, s.address, s.host = "unix", u.Path, "localhost"
		return nil
	case "http":
		port = "80"
	case "https":
		port = "443"
		s.tls = s.opts.TLS.Clone()
		if s.tls == nil {
			s.tls = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		s.tls.NextProtos = []string{"http/1.1"}
		if s.tls.ServerName == "" {
			s.tls.ServerName = u.Hostname()
		}
	default:
		return bad("the scheme is not http, https or unix")
	}
	if u.Hostname() == "" {
		return bad("the host is missing")
	}
	if u.Path != "" && u.Path != "/" {
		return bad("a path is not supported, because ComfyUI stands at the root of its server")
	}
	if p := u.Port(); p != "" {
		port = p
	}
	s.address, s.host = net.JoinHostPort(u.Hostname(), port), u.Host
	return nil
}

// Host is the value of the Host header that ComfyUI expects.
func (s *Server) Host() string { return s.host }

// URL is the address as it was given.
func (s *Server) URL() string { return s.opts.URL.String() }

func (s *Server) dialPlain(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}
	c, err := d.DialContext(ctx, s.network, s.address)
	if err != nil {
		if ctx.Err() == nil {
			s.noteDown()
		}
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return c, nil
}

// DialSocket opens a connection of its own, for a WebSocket handshake. The
// caller closes it. An error wraps ErrUnavailable.
func (s *Server) DialSocket(ctx context.Context) (net.Conn, error) {
	if err := s.refused(); err != nil {
		return nil, err
	}
	return s.dial(ctx)
}

func (s *Server) dial(ctx context.Context) (net.Conn, error) {
	c, err := s.dialPlain(ctx)
	if err != nil || s.tls == nil {
		return c, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	t := tls.Client(c, s.tls)
	if err := t.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return t, nil
}

// RoundTrip sends one request and gives ComfyUI's answer, whatever it is; no
// redirect is followed and no time limits the answer but the request's
// context. The request's URL needs only its path and query: scheme and host
// are set here. An error that wraps ErrUnavailable says that nothing was sent.
func (s *Server) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := s.refused(); err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	return s.send(r)
}

func (s *Server) send(r *http.Request) (res *http.Response, err error) {
	if s.opts.Sign != nil {
		if r.Header == nil {
			r.Header = make(http.Header)
		}
		s.opts.Sign(r.Header)
	}
	if s.tls == nil && canLook {
		res, err = s.direct(r)
	} else {
		u := *r.URL
		u.Scheme, u.Host = "http", s.host
		if s.tls != nil {
			u.Scheme = "https"
		}
		r.URL, r.Host = &u, s.host
		res, err = s.transport.RoundTrip(r)
	}
	if err != nil && r.Context().Err() == nil {
		s.status.suspect() // Run finds out whether it is more than this request
	}
	return res, err
}

// Close ends idle connections. Those in use end with their requests.
func (s *Server) Close() {
	s.pool.close()
	s.transport.CloseIdleConnections()
}

// status is what is known of ComfyUI's state.
type status struct {
	mu         sync.Mutex
	state      State
	generation uint64
	version    string
	watched    bool          // Run is going, so that state is fresh
	poke       chan struct{} // asks Run for a probe now; holds one
	refusing   atomic.Bool   // watched and not up; for requests, which take no lock
}
