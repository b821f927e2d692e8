// Package server takes requests from visitors and leads each through the same
// chain: parse, identify, prove the origin, authorise, answer.
//
// It knows no passwords and no database; it asks the rooms that do. It talks
// to ComfyUI only through room proxy.
//
// The rule that must hold: every request is parsed once, decided once, and
// what is forwarded is what was decided on. Whatever fails on the way refuses.
package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"comfylatch/internal/account"
	"comfylatch/internal/cache"
	"comfylatch/internal/comfy"
	"comfylatch/internal/isolate"
	"comfylatch/internal/login"
	"comfylatch/internal/policy"
	"comfylatch/internal/web"
)

// Upstream passes a request or socket on to ComfyUI; room proxy does.
type Upstream interface {
	ServeHTTP(w http.ResponseWriter, r *http.Request, req *comfy.Request, who account.Principal)
}

// Options are what a Server is made of. Those up to NodeModule are needed.
type Options struct {
	Site     *web.Site
	Login    Identity
	Sessions Sessions
	Upstream Upstream
	Cache    *cache.Cache
	Log      *slog.Logger
	// BindClient ties a client id, by which ComfyUI delivers events, to the
	// principal who used it first. It tells whether it is this one's.
	BindClient func(clientID, principalID string) bool
	// Pictures lets a prompt use private pictures; room incognito does. May be
	// nil.
	Pictures Pictures
	// HoldEvents keeps a client's events back until release, so that the answer
	// to its prompt comes first. May be nil.
	HoldEvents func(clientID, principalID string) (release func())
	// NodeModule says where ComfyUI found a node class, and whether it has it.
	NodeModule func(ctx context.Context, class string) (module string, known bool, err error)
	Runs       Runs     // counts the runs of guest links; nil: there are none
	GuestNodes []string // classes that guests may run besides ComfyUI's own
	DenyNodes  []string // classes that only administrators may run

	Auth           bool           // off: whoever is on this machine is the owner
	APIKey         account.Secret // only to recognise it in /k/<key>/
	TrustedProxies []netip.Prefix // peers whose X-Forwarded-* count
	Hosts          []string       // host names that are served; all when empty
	MaxConnections int            // open at once; 0: as many as the limit of open files allows
	QuietRequests  bool           // log only refused and failed requests
	Times          Times
}

// Times are the limits of patience. Zero fields get the defaults.
type Times struct {
	Header time.Duration // for a whole header: 10 s
	Form   time.Duration // for the whole of a form of ours: 30 s
}

// Server answers visitors.
type Server struct {
	Options
	ledger   *isolate.Ledger
	requests atomic.Uint64
	boot     string // tells requests of two runs apart
}

// New makes a Server. It starts nothing.
func New(o Options) *Server {
	o.Times.Header = cmp.Or(o.Times.Header, 10*time.Second)
	o.Times.Form = cmp.Or(o.Times.Form, 30*time.Second)
	return &Server{Options: o, ledger: isolate.NewLedger(), boot: fmt.Sprintf("%x-", time.Now().UnixMilli()&0xffffff)}
}

// exchange is one request and what has been found out about it.
type exchange struct {
	id         string
	peer       peer
	req        *comfy.Request // nil until parsed
	who        account.Principal
	stale      bool // came with a session cookie that is no longer good
	pathKey    string
	hasPathKey bool
	basic      bool          // the credential is one that a browser may send by itself
	refusal    string        // why it was refused, for the log
	upstream   time.Duration // until ComfyUI's answer began
	rec        recorder
}

func (x *exchange) client(r *http.Request) login.Client {
	return login.Client{Address: x.peer.addr, Agent: r.UserAgent(), Local: x.peer.local}
}

func (x *exchange) visit() web.Visit {
	return web.Visit{Who: x.who, Req: x.req, Peer: x.peer.addr, Host: x.peer.host, Secure: x.peer.secure, Local: x.peer.local, Stale: x.stale}
}

// ServeHTTP is the chain, outermost first.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{id: s.boot + strconv.FormatUint(s.requests.Add(1), 16), peer: s.findPeer(r)}
	x.rec = recorder{ResponseWriter: w, x: x, started: time.Now()}
	rec := &x.rec
	defer s.logRequest(rec, r, x)
	defer s.recoverPanic(rec, r, x)
	s.hurry(rec, r)
	s.handle(rec, r, x)
}

// handle decides. Each step that fails ends it with a refusal.
func (s *Server) handle(w http.ResponseWriter, r *http.Request, x *exchange) {
	if len(r.TransferEncoding) > 0 {
		// net/http has dropped a Content-Length beside it, which a proxy in
		// front may have gone by: whatever follows is not taken for a request.
		w.Header().Set("Connection", "close")
	}
	if err := s.parse(r, x); err != nil {
		s.refuseRequest(w, r, x, err)
		return
	}
	if len(s.Hosts) > 0 && !slices.Contains(s.Hosts, hostname(x.peer.host)) {
		x.refusal = "foreign host"
		http.Error(w, "This host name is not served here.", http.StatusMisdirectedRequest)
		return
	}
	var err error
	if x.who, err = s.identify(r, x); err != nil {
		x.refusal = err.Error()
		closeUnread(w, r)
		s.Site.Unauthorized(w, r, x.visit(), err)
		return
	}
	switch policy.Decide(x.who, x.req) {
	case policy.Allow:
		if reason := crossSite(r, x); reason != "" {
			s.forbid(w, r, x, "This was refused because "+reason+".")
			return
		}
		s.answer(w, r, x)
	case policy.Refuse:
		s.forbid(w, r, x, refusalText(x))
	default:
		x.refusal = "nobody"
		closeUnread(w, r)
		s.Site.Unauthorized(w, r, x.visit(), nil)
	}
}

func refusalText(x *exchange) string {
	if x.who.Scope != account.ScopeAll {
		return "This is beyond the token's scope (" + x.who.Scope.String() + ")."
	}
	if x.who.Role == account.Guest {
		return "Guests can look and generate, but not this. Log in to do it."
	}
	return "This needs an administrator."
}

func (s *Server) refuseRequest(w http.ResponseWriter, r *http.Request, x *exchange, err error) {
	x.refusal = err.Error()
	closeUnread(w, r)
	var a *comfy.AmbiguousError
	switch {
	case errors.As(err, &a):
		s.Site.BadRequest(w, r, "The request was refused because "+a.Reason+".")
	case errors.Is(err, comfy.ErrTooLong):
		http.Error(w, "The address is too long.", http.StatusRequestURITooLong)
	default:
		s.Site.BadRequest(w, r, "The request could not be read.")
	}
}

// closeUnread ends the connection after a refusal that leaves a body unread:
// nobody has to send 10 GB to learn that they must log in.
func closeUnread(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		w.Header().Set("Connection", "close")
	}
}

// answer calls the one that the route names.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, x *exchange) {
	switch x.req.Route.Answer {
	case comfy.Pass, comfy.Socket:
		if x.req.Route.Keep == comfy.KeepNot || !s.kept(w, r, x) {
			s.pass(w, r, x)
		}
	case comfy.Page:
		s.page(w, r, x)
	case comfy.Build:
		s.build(w, r, x)
	case comfy.Refresh:
		s.Cache.Drop(nodeDefinitions)
		w.WriteHeader(http.StatusNoContent)
	case comfy.Extensions:
		s.extensions(w, r, x)
	case comfy.Prompt:
		s.prompt(w, r, x)
	case comfy.Upload:
		s.upload(w, r, x)
	case comfy.Own:
		s.own(w, r, x)
	case comfy.Blank:
		s.blank(w, r, x)
	case comfy.Login:
		s.Cache.Expect() // who logs in will load the page next
		s.Site.ServeHTTP(w, r, x.visit())
	default:
		s.Site.ServeHTTP(w, r, x.visit())
	}
}

func (s *Server) pass(w http.ResponseWriter, r *http.Request, x *exchange) {
	s.comfyUI(w, r, x.req, x)
}

// comfyUI passes a request on, and notes how long ComfyUI took to begin its
// answer.
func (s *Server) comfyUI(w http.ResponseWriter, r *http.Request, req *comfy.Request, x *exchange) {
	if b, ok := r.Body.(*patientBody); ok {
		b.until = time.Time{} // somebody known, and room proxy watches over it
	}
	started := time.Now()
	defer func() {
		ended := time.Now()
		if a, ok := w.(interface{ began() time.Time }); ok && !a.began().IsZero() {
			ended = a.began()
		}
		x.upstream += ended.Sub(started)
	}()
	s.Upstream.ServeHTTP(w, r, req, x.who)
}

// recoverPanic turns a fault of ours into a refusal. An aborted answer stays
// one: the visitor must see that it is cut.
func (s *Server) recoverPanic(w *recorder, r *http.Request, x *exchange) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		x.refusal = "aborted"
		panic(p)
	}
	s.Log.Error("a request failed inside the gate", "id", x.id, "panic", p, "stack", string(debug.Stack()))
	x.refusal = "fault"
	if w.status != 0 {
		panic(http.ErrAbortHandler)
	}
	closeUnread(w, r)
	http.Error(w, "This request failed inside the gate (id "+x.id+").", http.StatusServiceUnavailable)
}

// logRequest writes one line: refused and failed requests always, the others
// unless they are to be quiet. Visitors' text is quoted by slog and cut here;
// the query is left out, since credentials may stand in it.
func (s *Server) logRequest(w *recorder, r *http.Request, x *exchange) {
	level := slog.LevelInfo
	if s.QuietRequests && x.refusal == "" && w.status < 500 {
		level = slog.LevelDebug
	}
	if !s.Log.Enabled(r.Context(), level) {
		return
	}
	path, route := "(unread)", ""
	if x.req != nil {
		path, route = cut(x.req.Path(), 200), x.req.Route.Pattern
	}
	s.Log.LogAttrs(r.Context(), level, "request", slog.String("id", x.id), slog.String("method", cut(r.Method, 16)), slog.String("path", path),
		slog.String("route", route), slog.Int("status", w.status), slog.String("who", cut(x.who.Name, 64)), slog.String("role", x.who.Role.String()),
		slog.String("by", x.who.Method.String()), slog.String("from", x.peer.String()), slog.Duration("took", time.Since(w.started)), slog.Duration("upstream", x.upstream), slog.String("refused", cut(x.refusal, 120)))
}

// cut shortens a visitor's text for the log.
func cut(s string, n int) string {
	if len(s) > n {
		s = s[:n] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}

// Limits of a connection. The time for a body is renewed as long as bytes
// come, here and in room proxy: long uploads are not cut, silent ones are.
const (
	bodyTime     = time.Minute
	idleTime     = 2 * time.Minute
	headerBytes  = 64 << 10
	shutdownTime = 10 * time.Second
)

// Serve answers on all listeners until ctx ends, then stops gracefully:
// requests under way may end within ten seconds.
func (s *Server) Serve(ctx context.Context, listeners []net.Listener) error {
	// net/http's own lines are about broken hand-shakes and the like: of
	// interest only when debugging.
	door := newDoor(s.MaxConnections, s.trusted)
	hs := &http.Server{Handler: s, ReadHeaderTimeout: s.Times.Header, IdleTimeout: idleTime, MaxHeaderBytes: headerBytes,
		ConnState: door.note, ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug)}
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { failed <- hs.Serve(doorListener{l, door}) }()
	}
	running := len(listeners)
	var err error
	select {
	case err = <-failed:
		running--
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	if hs.Shutdown(stop) != nil {
		hs.Close()
	}
	for range running {
		if e := <-failed; err == nil && !errors.Is(e, http.ErrServerClosed) {
			err = e
		}
	}
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}
