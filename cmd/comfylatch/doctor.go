package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"comfylatch/internal/comfy"
	"comfylatch/internal/config"
	"comfylatch/internal/incognito"
	"comfylatch/internal/login"
	"comfylatch/internal/store"
	"comfylatch/internal/upstream"
)

// report collects what doctor finds.
type report struct {
	env  Env
	bad  int
	warn int
}

func (r *report) ok(format string, a ...any) {
	fmt.Fprintf(r.env.Stdout, "ok       "+format+"\n", a...)
}

func (r *report) warning(format string, a ...any) {
	r.warn++
	fmt.Fprintf(r.env.Stdout, "warning  "+format+"\n", a...)
}

func (r *report) wrong(format string, a ...any) {
	r.bad++
	fmt.Fprintf(r.env.Stdout, "wrong    "+format+"\n", a...)
}

// runDoctor checks the set-up, changes nothing, and says what is wrong and how
// to mend it. Exit status 1 when something is wrong.
func runDoctor(ctx context.Context, env Env) error {
	cfg, err := config.Read(env.Args, []string{"main.py"}, config.Env{Getenv: env.Getenv, Workdir: env.Workdir})
	if err == nil {
		err = cfg.Resolve("127.0.0.1:8189", env.Getenv)
	}
	if err != nil {
		return err
	}
	r := &report{env: env}
	for _, p := range cfg.Problems() {
		r.wrong("%v", p)
	}
	for _, w := range cfg.Warnings {
		r.warning("%s", w)
	}
	r.state(ctx, cfg)
	r.comfyUI(ctx, cfg)
	if r.bad > 0 {
		return fmt.Errorf("%d of these must be mended", r.bad)
	}
	return nil
}

func (r *report) state(ctx context.Context, cfg config.Config) {
	info, err := os.Stat(cfg.State)
	switch {
	case errors.Is(err, os.ErrNotExist):
		r.ok("the state folder %s will be made at the first start", cfg.State)
		return
	case err != nil:
		r.wrong("the state folder cannot be read: %v", err)
		return
	case info.Mode().Perm()&0o077 != 0:
		r.warning("others can read the state folder: run chmod 700 %s", cfg.State)
	default:
		r.ok("the state folder is %s", cfg.State)
	}
	switch set, err := login.CheckFile(filepath.Join(cfg.State, "PASSWORD")); {
	case err != nil:
		r.wrong("%v", err)
	case set:
		r.ok("a password is set")
	default:
		r.ok("no password is set yet: the first visit chooses one")
	}
	path := filepath.Join(cfg.State, "comfylatch.db")
	if _, err := os.Stat(path); err == nil {
		if db, err := store.Open(ctx, path); err != nil {
			r.wrong("%v", err)
		} else {
			db.Close()
			r.ok("the database can be opened")
		}
	}
	switch unlock, err := store.Lock(cfg.State); {
	case err != nil:
		r.ok("a gate is running over this state folder")
	default:
		unlock()
		r.ok("no gate is running over this state folder")
	}
}

func (r *report) comfyUI(ctx context.Context, cfg config.Config) {
	if cfg.ComfyUI != "" {
		if node := loginNode(cfg.ComfyUI); node != "" {
			r.warning("ComfyUI-Login is installed too, so people log in twice: remove %s and restart ComfyUI", node)
		}
	}
	r.companionNode(cfg)
	address, err := url.Parse(cfg.Upstream)
	if err != nil {
		return // told by Problems
	}
	up, err := upstream.New(upstream.Options{URL: address, Sign: incognito.NewSigner(nodeSecret(cfg.State)).Sign})
	if err != nil {
		return
	}
	defer up.Close()
	ask, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	switch err := up.Identify(ask); {
	case err == nil:
		r.ok("ComfyUI %s answers at %s", up.Version(), cfg.Upstream)
		r.patches(up.Version())
	case errors.Is(err, upstream.ErrUnavailable):
		r.wrong("ComfyUI does not answer at %s: start it, or say where it is with --upstream", cfg.Upstream)
		return
	default:
		r.wrong("what answers at %s is not a ComfyUI: %v", cfg.Upstream, err)
		return
	}
	if a := openAround(ask, address); a != "" {
		r.wrong("ComfyUI can be reached past the gate, at %s: start it with --listen 127.0.0.1, or close that port", a)
	} else {
		r.ok("ComfyUI is not reachable at this machine's other addresses")
	}
}

// patches names the holes that this ComfyUI still has, or may have.
func (r *report) patches(version string) {
	for _, p := range comfy.Unpatched(version) {
		fixed := "not known to be fixed in any version"
		if p.Fixed != "" {
			fixed = "fixed in " + p.Fixed
		}
		if p.Of != "ComfyUI" {
			fixed = "where " + p.Of + " is installed"
		}
		r.ok("stopped: %s, %s (%s): %s", p.CVE, p.What, fixed, p.Stops)
	}
}

// openAround looks for an address of this machine, other than loopback, at
// which a local ComfyUI answers: whoever reaches that goes round the door.
func openAround(ctx context.Context, upstream *url.URL) string {
	ip := net.ParseIP(upstream.Hostname())
	if upstream.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return ""
	}
	port := upstream.Port()
	if port == "" {
		port = "80"
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	d := net.Dialer{Timeout: time.Second}
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok || n.IP.IsLoopback() || n.IP.IsLinkLocalUnicast() {
			continue
		}
		at := net.JoinHostPort(n.IP.String(), port)
		if c, err := d.DialContext(ctx, "tcp", at); err == nil {
			c.Close()
			return at
		}
	}
	return ""
}
