package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The names of what is compared, as they stand in the table.
const (
	direct = "direct"
	gate   = "comfylatch"
	nginx  = "nginx"
	caddy  = "Caddy"
	oauth2 = "oauth2-proxy"
)

// server is one way to the upstream.
type server struct {
	name    string
	addr    string
	process *process
	token   string // the header line that a program sends; "" for direct
	cookie  string // the Cookie header's value that a browser sends
}

// kind is how a request proves who it comes from.
type kind uint8

const (
	byToken kind = iota
	byCookie
)

// credential is the header line of a request, with its end.
func (s *server) credential(k kind) string {
	switch {
	case s.name == direct:
		return ""
	case k == byCookie:
		return "Cookie: " + s.cookie + "\r\n"
	}
	return s.token + "\r\n"
}

// get is a request as a program sends it; more are header lines.
func (s *server) get(path string, k kind, more ...string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nAccept: */*\r\n", path, s.addr)
	for _, line := range more {
		b.WriteString(line + "\r\n")
	}
	b.WriteString(s.credential(k) + "\r\n")
	return []byte(b.String())
}

// line is an upstream and everything that stands in front of it.
type line struct {
	servers []*server // direct first, then comfylatch
	all     []*process
}

func (l *line) stop() {
	for _, p := range l.all {
		p.stop()
	}
}

func (l *line) gate() *server { return l.servers[1] }

// rawLine is a line in front of the raw upstream.
func (b *bench) rawLine(names ...string) (*line, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	return b.newLine(addr, []string{"serve-raw", addr}, names)
}

// newLine starts an upstream, this program with args, and in front of it the
// gate and the named others that are at hand. Without args the upstream runs
// already.
func (b *bench) newLine(addr string, args, names []string) (l *line, err error) {
	l = &line{}
	defer func() {
		if err != nil {
			l.stop()
		}
	}()
	up := &server{name: direct, addr: addr}
	if len(args) > 0 {
		if up.process, err = b.launch(b.self, args...); err != nil {
			return nil, err
		}
		l.all = append(l.all, up.process)
		if err := up.process.listening(b.ctx, addr); err != nil {
			return nil, err
		}
	}
	l.servers = append(l.servers, up)
	starts := map[string]func(*bench, *server, string) error{gate: (*bench).startGate, nginx: (*bench).startNginx, caddy: (*bench).startCaddy, oauth2: (*bench).startOAuth2}
	for _, name := range append([]string{gate}, names...) {
		s := &server{name: name}
		if s.addr, err = freeAddr(); err != nil {
			return nil, err
		}
		if err := starts[name](b, s, addr); errors.Is(err, errNotHere) {
			continue
		} else if err != nil {
			return nil, err
		}
		l.servers, l.all = append(l.servers, s), append(l.all, s.process)
		if err := b.check(s); err != nil {
			return nil, err
		}
	}
	return l, nil
}

var errNotHere = errors.New("not at hand")

// check sees that a server lets in whom it should, and nobody else.
func (b *bench) check(s *server) error {
	if err := s.process.listening(b.ctx, s.addr); err != nil {
		return err
	}
	if s.name == oauth2 {
		if err := s.signInOAuth2(); err != nil {
			return err
		}
	}
	for _, one := range []struct {
		request []byte
		want    bool
	}{{s.get("/queue", byToken), true}, {s.get("/queue", byCookie), true}, {fmt.Appendf(nil, "GET /queue HTTP/1.1\r\nHost: %s\r\n\r\n", s.addr), false}} {
		status, err := ask(b.ctx, s.addr, one.request)
		if err != nil {
			return fmt.Errorf("ask %s: %w", s.name, err)
		}
		if (status == http.StatusOK) != one.want {
			return fmt.Errorf("%s answers %d:\n%s\n%s", s.name, status, one.request, s.process.log.String())
		}
	}
	return nil
}

const (
	benchUser     = "bench"
	benchPassword = "only for measuring"
	benchSecret   = "bench-0123456789abcdef0123456789abcdef"
)

var logInForm = url.Values{"username": {benchUser}, "password": {benchPassword}}

// startGate starts comfylatch with a fresh state folder, as its owner would:
// one token, one browser that has logged in.
func (b *bench) startGate(s *server, upstream string) error {
	state, err := os.MkdirTemp(b.dir, "state-")
	if err != nil {
		return err
	}
	if err := b.makeToken(s, state); err != nil {
		return err
	}
	return b.runGate(s, upstream, state)
}

// runGate starts comfylatch on a state folder and logs in.
func (b *bench) runGate(s *server, upstream, state string) (err error) {
	// As nginx's and Caddy's: without a line for each request.
	config, err := b.write("comfylatch.toml", "log_requests = false\n")
	if err != nil {
		return err
	}
	if s.process, err = b.launch(b.gate, "--config", config, "--listen", s.addr, "--upstream", "http://"+upstream, "--state", state); err != nil {
		return err
	}
	if err := s.process.listening(b.ctx, s.addr); err != nil {
		return err
	}
	return s.logIn("/login", logInForm)
}

func (b *bench) makeToken(s *server, state string) error {
	out, err := exec.CommandContext(b.ctx, b.gate, "token", "create", "bench", "--json", "--state", state).Output()
	if err != nil {
		return fmt.Errorf("make a token: %w", err)
	}
	var made struct{ Token string }
	if err := json.Unmarshal(out, &made); err != nil {
		return fmt.Errorf("read the token: %w", err)
	}
	s.token = "Authorization: Bearer " + made.Token
	return nil
}

// logIn sends a form and keeps the cookie.
func (s *server) logIn(path string, form url.Values) error {
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	r, err := client.PostForm("http://"+s.addr+path, form)
	if err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	defer r.Body.Close()
	for _, c := range r.Cookies() {
		if c.Value != "" && c.MaxAge >= 0 {
			s.cookie = c.Name + "=" + c.Value
		}
	}
	if s.cookie == "" {
		text, _ := io.ReadAll(io.LimitReader(r.Body, 2000))
		return fmt.Errorf("log in at %s: status %d and no cookie\n%s", s.name, r.StatusCode, text)
	}
	return nil
}

// write makes a configuration file and gives its path.
func (b *bench) write(name, text string) (string, error) {
	dir, err := os.MkdirTemp(b.dir, "config-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, name)
	return path, os.WriteFile(path, []byte(text), 0o600)
}
