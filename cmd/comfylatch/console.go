package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"

	"comfylatch/internal/account"
	"comfylatch/internal/config"
	"comfylatch/internal/login"

	"golang.org/x/term"
)

func newLogger(env Env, cfg config.Config) *slog.Logger {
	o := &slog.HandlerOptions{Level: slog.LevelInfo}
	if cfg.LogDebug {
		o.Level = slog.LevelDebug
	}
	if cfg.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(env.Stderr, o))
	}
	return slog.New(slog.NewTextHandler(env.Stderr, o))
}

// console is where the owner reads what only they may know: whoever sees it
// has the machine anyway.
type console struct {
	out      io.Writer
	json     *slog.Logger // instead, where lines must be JSON
	terminal bool
}

func newConsole(env Env, cfg config.Config) console {
	c := console{out: env.Stderr}
	if cfg.LogFormat == "json" {
		c.json = newLogger(env, cfg)
	}
	if f, ok := env.Stderr.(*os.File); ok {
		c.terminal = term.IsTerminal(int(f.Fd()))
	}
	return c
}

func (c console) say(format string, a ...any) {
	text := fmt.Sprintf(format, a...)
	if c.json != nil {
		c.json.Info(text)
		return
	}
	fmt.Fprintln(c.out, text)
}

// greet says where the gate is.
func (c console) greet(cfg config.Config, listeners []net.Listener) {
	for _, l := range listeners {
		c.say("comfylatch is at %s", visitAddress(l.Addr()))
	}
	if !cfg.Auth {
		c.say("Authentication is off: everybody on this machine is let in.")
	}
}

func (c console) code(code string) {
	c.say("No password has been set yet: open the page and choose one.")
	c.say("From another machine, it asks for this one-time code: %s", code)
}

// token is shown in full on a terminal only: elsewhere it would lie in a log.
func (c console) token(t account.Secret) {
	value := t.Reveal()
	if value == "" {
		return
	}
	if !c.terminal {
		value = value[:min(8, len(value))] + "… (shown in full on a terminal; comfylatch token create NAME makes others)"
	}
	c.say("For direct API calls, use token=%s", value)
}

// visitAddress is a listener's address as a browser takes it.
func visitAddress(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	switch {
	case !ok:
		return a.Network() + ":" + a.String()
	case tcp.IP.IsUnspecified():
		return fmt.Sprintf("http://127.0.0.1:%d (and at this machine's other addresses)", tcp.Port)
	}
	return "http://" + tcp.String()
}

// tell shows what the login room has for the owner, now and at every change: a
// set-up that is needed, or the token that goes with the password.
func (g *gate) tell(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case n := <-g.login.Notices():
			switch n.Kind {
			case login.SetUpNeeded:
				g.console.code(n.Code.Reveal())
			case login.PasswordSet:
				g.console.token(n.Token)
			}
		}
	}
}

// task is something that goes on in the background and ends with an error.
type task struct {
	done chan struct{}
	err  error
}

func begin(f func() error) *task {
	t := &task{done: make(chan struct{})}
	go func() {
		defer close(t.done)
		t.err = f()
	}()
	return t
}

func (t *task) wait() error {
	<-t.done
	return t.err
}

// group waits for background work.
type group struct{ wg sync.WaitGroup }

func (g *group) start(f func() error) { g.wg.Go(func() { f() }) }
func (g *group) wait()                { g.wg.Wait() }
