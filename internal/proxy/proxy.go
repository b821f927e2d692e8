// Package proxy passes requests and WebSockets through to ComfyUI.
//
// It decides nothing about who may do what: it is called with a request that
// is allowed already. It keeps no body in memory, follows nothing and repairs
// nothing.
//
// The rule that must hold: what goes to ComfyUI is written anew from the
// canonical comfy.Request and from an allow list of headers (headers.go);
// nothing is copied from the raw request. And a connection becomes a tunnel
// only after both sides have proved that they speak WebSocket.
package proxy

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"comfylatch/internal/account"
	"comfylatch/internal/comfy"
	"comfylatch/internal/upstream"
)

// Upstream is what is needed of a ComfyUI; *upstream.Server is one.
type Upstream interface {
	RoundTrip(*http.Request) (*http.Response, error)
	DialSocket(context.Context) (net.Conn, error)
	Host() string
	State() upstream.State
}

// Options are what a Proxy needs. Only Upstream is required.
type Options struct {
	Upstream Upstream
	Log      *slog.Logger
	// Unavailable answers somebody who is going to a page while ComfyUI does
	// not answer. Everything else gets JSON.
	Unavailable func(http.ResponseWriter, *http.Request, upstream.State)
	// OurCookie tells which cookies are the gate's: they never go upstream,
	// and ComfyUI cannot set them.
	OurCookie func(name string) bool
	// Adjust may change the headers of an answer before they are sent.
	Adjust func(req *comfy.Request, who account.Principal, status int, h http.Header)
	// OnEnd calls ended, from a goroutine of its own, when the principal's right
	// to be here ends; release is called when nobody listens any more. nil: never.
	OnEnd func(p account.Principal, ended func()) (release func())
	// MaxSockets is how many sockets a principal may have open at once; 0 is
	// no limit.
	MaxSockets func(account.Principal) int
	// Left is called after a socket has ended, from a goroutine of its own.
	Left func(Presence)
	// Sign may add to the header of a handshake with ComfyUI. May be nil.
	Sign  func(http.Header)
	Times Times
}

// Times are the proxy's limits of patience. Zero fields get the defaults.
type Times struct {
	Body      time.Duration // a body that does not move, either way: 60 s
	Handshake time.Duration // ComfyUI's answer to a WebSocket handshake: 30 s
	Ping      time.Duration // between two pings of ours: 30 s
	Silence   time.Duration // a socket's client that says nothing, not even pong: 75 s
	Write     time.Duration // a socket's reader that takes nothing: 30 s
	Close     time.Duration // the other side's answer to a close: 2 s
}

func (t Times) withDefaults() Times {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&t.Body, 60*time.Second)
	set(&t.Handshake, 30*time.Second)
	set(&t.Ping, 30*time.Second)
	set(&t.Silence, 75*time.Second)
	set(&t.Write, 30*time.Second)
	set(&t.Close, 2*time.Second)
	return t
}

// Proxy passes requests through. It is safe for concurrent use.
type Proxy struct {
	opts    Options
	up      Upstream
	reads   *coalescer
	log     *slog.Logger
	times   Times
	ids     *ClientIDs
	sockets registry
	behind  atomic.Int64 // bytes that clients of sockets have not taken yet
}

// New makes a Proxy and starts nothing.
func New(o Options) *Proxy {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.OurCookie == nil {
		o.OurCookie = func(string) bool { return false }
	}
	p := &Proxy{opts: o, up: o.Upstream, log: o.Log, times: o.Times.withDefaults(), ids: NewClientIDs()}
	p.reads = newCoalescer(p.up.RoundTrip)
	p.sockets.init()
	return p
}

// ClientIDs tells which client ids are whose.
func (p *Proxy) ClientIDs() *ClientIDs { return p.ids }

// ServeHTTP passes one request through. r gives the body, the headers of the
// allow list and the client's connection; everything else comes from req.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request, req *comfy.Request, who account.Principal) {
	switch {
	case req.Method == http.MethodConnect || req.Method == http.MethodTrace:
		hangUp(w, r)
		refuse(w, http.StatusMethodNotAllowed, "This method is not supported.")
	case isSocket(req):
		p.serveSocket(w, r, req, who)
	default:
		p.forward(w, r, req, who)
	}
}

// isSocket tells whether this is ComfyUI's WebSocket. It is the only place
// where a connection is ever upgraded.
func isSocket(req *comfy.Request) bool {
	return len(req.Segments) == 1 && req.Segments[0] == "ws" && !req.Slash
}

// Shutdown ends all sockets with "going away" and refuses new ones. It returns
// when all have ended or ctx has.
func (p *Proxy) Shutdown(ctx context.Context) error { return p.sockets.shutdown(ctx) }

// Open lists the sockets that are open now.
func (p *Proxy) Open() []Presence { return p.sockets.open() }

// Others counts the open sockets of everybody but one: of other principals,
// and those that the same principal opened with another client id (another
// tab or device). With clientID "" all of the principal's own are left out.
func (p *Proxy) Others(principalID, clientID string) int {
	n := 0
	for _, o := range p.sockets.open() {
		if o.PrincipalID != principalID || (clientID != "" && o.ClientID != clientID) {
			n++
		}
	}
	return n
}
