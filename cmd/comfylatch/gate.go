package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"comfylatch/internal/account"
	"comfylatch/internal/audit"
	"comfylatch/internal/cache"
	"comfylatch/internal/config"
	"comfylatch/internal/incognito"
	"comfylatch/internal/login"
	"comfylatch/internal/people"
	"comfylatch/internal/proxy"
	"comfylatch/internal/server"
	"comfylatch/internal/session"
	"comfylatch/internal/store"
	"comfylatch/internal/throttle"
	"comfylatch/internal/upstream"
	"comfylatch/internal/web"
)

// runGate stands in front of a running ComfyUI, or starts one and stands in
// front of that.
func runGate(ctx context.Context, env Env) error {
	flags, command, err := cutCommand(env.Args)
	if err != nil {
		return err
	}
	listen := "127.0.0.1:8189"
	if command != nil {
		listen = "127.0.0.1:8188" // ComfyUI's own place, which it gives up
	}
	cfg, err := readConfig(env, flags, command, listen)
	if err != nil {
		return err
	}
	if command == nil {
		address, err := url.Parse(cfg.Upstream)
		if err != nil {
			return usagef("upstream: %w", err)
		}
		return serve(ctx, env, cfg, behind{address: address})
	}
	if cfg.CompanionNode {
		if err := renewNode(cfg); err != nil {
			return err
		}
	}
	child, err := upstream.NewChild(upstream.ChildOptions{Command: command, Stdout: env.Stdout, Stderr: env.Stderr, Log: newLogger(env, cfg)})
	if err != nil {
		return err
	}
	return serve(ctx, env, cfg, behind{address: child.URL(), child: child})
}

// behind is the ComfyUI that the gate stands in front of.
type behind struct {
	address *url.URL
	child   *upstream.Child // nil: it runs by itself
}

// gate is the program, wired.
type gate struct {
	cfg       config.Config
	log       *slog.Logger
	console   console
	listeners []net.Listener
	unlock    func() error
	db        *store.DB
	audit     *audit.Log
	throttle  *throttle.Limiter
	sessions  *session.Manager
	login     *login.Service
	people    *people.Service
	upstream  *upstream.Server
	proxy     *proxy.Proxy
	cache     *cache.Cache
	pictures  *incognito.Room
	signer    *incognito.Signer
	server    *server.Server
}

// serve runs the gate until a signal, the end of ctx, or the end of the
// ComfyUI that it started, whose status it then takes on.
func serve(ctx context.Context, env Env, cfg config.Config, b behind) error {
	g := &gate{cfg: cfg, log: newLogger(env, cfg), console: newConsole(env, cfg)}
	defer g.close()
	if err := g.open(ctx, b); err != nil {
		return err
	}
	for _, w := range cfg.Warnings {
		g.log.Warn(w)
	}
	return g.run(ctx, env, b)
}

// open makes everything, and begins nothing that others could see before it
// is certain that the gate can stand.
func (g *gate) open(ctx context.Context, b behind) (err error) {
	if g.listeners, err = server.Listen(g.cfg.Listen); err != nil {
		return err
	}
	if err := makeState(g.cfg.State); err != nil {
		return err
	}
	if g.unlock, err = store.Lock(g.cfg.State); err != nil {
		return err
	}
	if g.db, err = store.Open(ctx, filepath.Join(g.cfg.State, "comfylatch.db")); err != nil {
		return err
	}
	g.audit = audit.New(g.db, g.log)
	if g.throttle, err = throttle.New(ctx, g.db); err != nil {
		return err
	}
	g.sessions = session.New(g.db, session.Config{Idle: g.cfg.SessionIdle, Absolute: g.cfg.SessionMax})
	if g.login, err = login.New(ctx, login.Options{StateDir: g.cfg.State, ComfyDir: g.cfg.ComfyUI, APIKey: g.cfg.APIKey, Guest: g.cfg.Guest,
		Store: g.db, Sessions: g.sessions, Throttle: g.throttle, Audit: g.audit, Log: g.log}); err != nil {
		return err
	}
	g.people = people.New(people.Options{Store: g.db, Login: g.login, Audit: g.audit})
	if err = g.people.Prune(ctx); err != nil {
		return err
	}
	g.signer = incognito.NewSigner(nodeSecret(g.cfg.State))
	if g.upstream, err = upstream.New(upstream.Options{URL: b.address, Sign: g.signer.Sign, Log: g.log, Starts: b.child != nil}); err != nil {
		return err
	}
	return g.openServer()
}

func (g *gate) openServer() error {
	g.cache = cache.New(cache.Options{Upstream: g.upstream, MaxBytes: int64(g.cfg.CacheMB) << 20, Early: web.EarlyScript(), Log: g.log})
	var site *web.Site
	g.proxy = proxy.New(proxy.Options{Upstream: g.upstream, Sign: g.signer.Sign, Log: g.log,
		Unavailable: func(w http.ResponseWriter, r *http.Request, st upstream.State) {
			site.Unavailable(w, r, st == upstream.Starting)
		},
		OurCookie: func(name string) bool { return name == web.CookieName(true) || name == web.CookieName(false) },
		OnEnd:     g.sessions.OnEnd, MaxSockets: g.maxSockets})
	g.pictures = incognito.New(incognito.Options{Dir: filepath.Join(g.cfg.State, "incognito"), SecretFile: nodeSecret(g.cfg.State),
		Upstream: g.upstream, Watch: g.sessions.Watch, Log: g.log})
	if err := g.pictures.Clean(); err != nil {
		return err
	}
	o := web.Options{Pictures: g.pictures.ServeHTTP, Login: g.login, LoginPage: filepath.Join(g.cfg.State, "login.html"), Log: g.log, Version: version, SessionAge: g.cfg.SessionMax, PublicPrefetch: g.cache.Ahead,
		Health: func(ctx context.Context) (any, bool) { h := g.upstream.Health(ctx); return h, h.OK() }}
	o.Desk = &web.Desk{People: g.people, Login: g.login, Audit: g.audit, Free: g.upstream.Free, ComfyUI: g.upstream.Version}
	if g.cfg.FreeMemory {
		o.Leave = (&server.Memory{Sockets: g.proxy, ComfyUI: g.upstream, Log: g.log}).Leave
	}
	var err error
	if site, err = web.New(o); err != nil {
		return err
	}
	g.server = server.New(server.Options{Site: site, Login: g.login, Sessions: g.login, Upstream: g.proxy, Cache: g.cache, Log: g.log, Runs: g.people,
		BindClient: g.proxy.ClientIDs().Bind, HoldEvents: g.proxy.Hold, Pictures: g.pictures, NodeModule: upstream.NewNodes(g.upstream).Module, GuestNodes: g.cfg.GuestNodes, DenyNodes: g.cfg.DenyNodes, Auth: g.cfg.Auth, APIKey: g.cfg.APIKey, TrustedProxies: g.cfg.TrustedProxies, Hosts: g.cfg.Hosts,
		MaxConnections: g.cfg.MaxConnections, QuietRequests: !g.cfg.LogRequests})
	return nil
}

// maxSockets is how many sockets one principal may hold open.
func (g *gate) maxSockets(p account.Principal) int {
	switch {
	case p.Role == account.Guest:
		return g.cfg.MaxSockets.Guest
	case p.Role == account.User:
		return g.cfg.MaxSockets.User
	}
	return g.cfg.MaxSockets.Owner
}

// run begins everything and waits. The background work ends after the server
// has, so that what the last requests did is still written.
func (g *gate) run(ctx context.Context, env Env, b behind) error {
	g.console.greet(g.cfg, g.listeners)
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	var workers group
	for _, run := range []func(context.Context) error{g.login.Run, g.sessions.Run, g.throttle.Run, g.audit.Run, g.pictures.Run, g.cache.Run, g.tell, tendHeap} {
		workers.start(func() error { return run(work) })
	}
	workers.start(func() error { g.upstream.Run(work); return nil })
	defer workers.wait()
	defer stopWork()

	serving, stopServing := context.WithCancel(ctx)
	defer stopServing()
	served := begin(func() error { return g.server.Serve(serving, g.listeners) })
	status := 0
	comfy := begin(func() (err error) {
		if b.child == nil {
			return g.greetComfyUI(work)
		}
		status, err = b.child.Run(work)
		return err
	})
	sig := os.Interrupt
	select {
	case <-ctx.Done():
	case sig = <-env.Signals:
		g.log.Info("ending", "signal", sig.String())
	case <-served.done:
	case <-comfy.done:
	}
	stopServing()
	if b.child != nil {
		b.child.Signal(sig)
	}
	g.endSockets()
	err := served.wait()
	if b.child == nil {
		stopWork()
	}
	if err = errors.Join(comfy.wait(), err); err == nil && status != 0 {
		return statusError(status)
	}
	return err
}

// endSockets says goodbye to open sockets, which a graceful stop of the server
// would otherwise wait for in vain.
func (g *gate) endSockets() {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	g.proxy.Shutdown(ctx)
}

// greetComfyUI says once what the gate stands in front of. It returns an error
// when that is certainly no ComfyUI, and otherwise only when ctx ends.
func (g *gate) greetComfyUI(ctx context.Context) error {
	ask, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	switch err := g.upstream.Identify(ask); {
	case errors.Is(err, upstream.ErrNotComfyUI):
		return fmt.Errorf("%w; say where ComfyUI is with --upstream", err)
	case err != nil && ctx.Err() == nil:
		g.log.Warn("ComfyUI does not answer yet: start it, or say where it is with --upstream", "url", g.upstream.URL())
	}
	<-ctx.Done()
	return nil
}

func (g *gate) close() {
	for _, l := range g.listeners {
		l.Close()
	}
	if g.upstream != nil {
		g.upstream.Close()
	}
	if g.db != nil {
		g.db.Close()
	}
	if g.unlock != nil {
		g.unlock()
	}
}

// makeState makes the state folder, and sees that nothing but us can read it
// and that we can write into it.
func makeState(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the state folder: %w; choose another with --state", err)
	}
	if info, err := os.Stat(dir); err != nil {
		return fmt.Errorf("look at the state folder: %w", err)
	} else if info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(dir, 0o700); err != nil {
			return fmt.Errorf("others can read the state folder %s, and that cannot be changed: %w", dir, err)
		}
	}
	f, err := os.CreateTemp(dir, ".write-test-")
	if err != nil {
		return fmt.Errorf("write into the state folder %s: %w; choose another with --state", dir, err)
	}
	f.Close()
	return os.Remove(f.Name())
}
