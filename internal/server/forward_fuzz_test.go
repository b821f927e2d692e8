package server

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"comfylatch/internal/account"
	"comfylatch/internal/comfy"
	"comfylatch/internal/login"
	"comfylatch/internal/policy"
	"comfylatch/internal/proxy"
	"comfylatch/internal/upstream"
	"comfylatch/internal/web"
)

// byLetter lets everybody in whose credential begins with the letter of a role.
type byLetter struct{ account.Method }

func (b byLetter) find(value string) (account.Principal, error) {
	role := map[byte]account.Role{'g': account.Guest, 'u': account.User, 'o': account.Owner}
	if value == "" || role[value[0]] == 0 {
		return account.Principal{}, account.ErrNotFound
	}
	return account.Principal{Role: role[value[0]], UserID: value[:1], Name: value[:1], Method: b.Method, Ref: value[:1]}, nil
}

func (b byLetter) Find(_ context.Context, value string) (account.Principal, error) {
	return b.find(value)
}

func (b byLetter) Token(_ context.Context, value string, _ login.Client) (account.Principal, error) {
	p, err := b.find(value)
	if err != nil {
		err = account.ErrBadCredentials
	}
	return p, err
}

// crossing is one request on its way through: as it was decided on, and as a
// server behind the gate read it.
type crossing struct {
	who     account.Principal
	decided *comfy.Request
	length  int64 // of the visitor's body; -1 where it is not told
}

type arrival struct {
	method, target, host string
	header               http.Header
	length               int64
}

// glass is a gate through which one can see what goes in and comes out.
type glass struct {
	addr, comfyHost string
	mu              sync.Mutex
	in              []crossing
	out             []arrival
	pass            *proxy.Proxy
}

func (g *glass) ServeHTTP(w http.ResponseWriter, r *http.Request, req *comfy.Request, who account.Principal) {
	g.mu.Lock()
	c := *req
	g.in = append(g.in, crossing{who: who, decided: &c, length: r.ContentLength})
	g.mu.Unlock()
	g.pass.ServeHTTP(w, r, req, who)
}

func newGlass(f *testing.F) *glass {
	g := &glass{}
	back := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		g.mu.Lock()
		g.out = append(g.out, arrival{r.Method, r.RequestURI, r.Host, r.Header.Clone(), n})
		g.mu.Unlock()
		io.WriteString(w, "{}")
	}))
	f.Cleanup(back.Close)
	u, _ := url.Parse(back.URL)
	g.comfyHost = u.Host
	up, err := upstream.New(upstream.Options{URL: u})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { up.Close() })
	g.pass = proxy.New(proxy.Options{Upstream: up, OurCookie: func(name string) bool { return name == web.CookieName(true) || name == web.CookieName(false) }})
	h := newHouse(f, func(o *Options) {
		o.Upstream, o.Login, o.Sessions = g, byLetter{account.ByToken}, byLetter{account.ByCookie}
		o.BindClient = func(string, string) bool { return true }
		o.NodeModule = func(context.Context, string) (string, bool, error) { return "nodes", true, nil }
	})
	g.addr = h.addr
	return g
}

// send writes bytes on a connection, and a last request that ends it.
func (g *glass) send(t *testing.T, data []byte) ([]crossing, []arrival) {
	g.mu.Lock()
	g.in, g.out = nil, nil
	g.mu.Unlock()
	c, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Skip(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(2 * time.Second))
	c.Write(slices.Concat(data, []byte("GET /_latch/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")))
	br := bufio.NewReader(c)
	for {
		c.SetReadDeadline(time.Now().Add(60 * time.Millisecond)) // the gate may rightly wait for more
		if _, err := io.CopyN(io.Discard, br, 1); err != nil {
			break
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.in), slices.Clone(g.out)
}

// FuzzDecideEqualsForward writes any bytes on a connection. Whatever reaches
// ComfyUI, read by another server, must be what was decided on, and the same
// decision must come out again ("A19 decide = forward").
func FuzzDecideEqualsForward(f *testing.F) {
	head := " HTTP/1.1\r\nHost: gate\r\n"
	for _, s := range []string{
		"GET /queue" + head + "X-Api-Key: o\r\n\r\n",
		"GET /api/userdata/a%2Fb.json?x=1&token=o" + head + "\r\n",
		"GET /k/o/view?filename=a;b&type=temp" + head + "Cookie: a=1; comfylatch=g\r\n\r\n",
		"POST /free" + head + "Authorization: Bearer o\r\nContent-Length: 2\r\n\r\n{}GET /internal/logs" + head + "\r\n",
		"POST /free" + head + "Authorization: Bearer o\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n2\r\n{}\r\n0\r\nX-User: root\r\n\r\n",
		"POST /api/settings" + head + "Cookie: comfylatch=u\r\nOrigin: http://gate\r\nContent-Length: 2\r\n\r\n{}",
		"GET /public/../prompt" + head + "X-Api-Key: g\r\n\r\n", "GET http://evil/queue" + head + "X-Api-Key: o\r\n\r\n",
		"GET /queue" + head + "X-Api-Key: o\r\nComfy-User: v\r\nX_Forwarded_User: a\r\nConnection: close, Cookie\r\n\r\n",
		"GET /%2571ueue" + head + "X-Api-Key: o\r\n\r\n", "OPTIONS /prompt" + head + "X-Api-Key: g\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
		"HEAD /assets/x.js" + head + "\r\n", "GET /ws?clientId=x" + head + "X-Api-Key: o\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	g := newGlass(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		// What an earlier input left on its way may still arrive: only what
		// happens again is this one's.
		var fault string
		for range 3 {
			if fault = g.compare(g.send(t, data)); fault == "" {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Fatal(fault)
	})
}

// compare says what went out that was not decided on.
func (g *glass) compare(in []crossing, out []arrival) string {
	for _, a := range out {
		sent, err := comfy.Parse(a.method, a.target)
		if err != nil {
			return fmt.Sprintf("%q went out, which is refused: %v", a.target, err)
		}
		i := slices.IndexFunc(in, func(c crossing) bool { return c.decided.Method == a.method && c.decided.Target() == a.target })
		if i < 0 {
			return fmt.Sprintf("%s %q went out, but was never decided on: %+v", a.method, a.target, in)
		}
		was := in[i]
		in = slices.Delete(in, i, i+1)
		if d := policy.Decide(was.who, sent); d != policy.Allow || sent.Route != was.decided.Route || sent.Path() != was.decided.Path() || !slices.Equal(sent.Query, was.decided.Query) {
			return fmt.Sprintf("%q was decided on as %s, but what went out is %s: %v", a.target, was.decided.Path(), sent.Path(), d)
		}
		if a.host != g.comfyHost || was.length >= 0 && a.length != was.length {
			return fmt.Sprintf("host %q, body of %d bytes, want %q and %d", a.host, a.length, g.comfyHost, was.length)
		}
		if fault := dirty(a); fault != "" {
			return fault
		}
	}
	return ""
}

// dirty says what of the gate's or of a visitor's claims went out.
func dirty(a arrival) string {
	for name, values := range a.header {
		switch name {
		case "Accept", "Accept-Encoding", "Accept-Language", "Cache-Control", "Comfy-Usage-Source", "Content-Encoding", "Content-Length", "Content-Type", "Cookie",
			"If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "If-Unmodified-Since", "Pragma", "Range", "Sec-Fetch-Dest", "User-Agent":
		default:
			return fmt.Sprintf("the header %s went out: %q", name, values)
		}
		if name == "Cookie" && slices.ContainsFunc(strings.Split(strings.Join(values, ";"), ";"), func(c string) bool {
			key, _, _ := strings.Cut(c, "=")
			return strings.TrimSpace(key) == "comfylatch"
		}) {
			return fmt.Sprintf("our cookie went out: %q", values)
		}
	}
	for _, p := range strings.Split(a.target, "&") {
		if _, q, ok := strings.Cut(p, "?"); ok {
			p = q
		}
		if strings.HasPrefix(p, "token=") || strings.HasPrefix(p, "api_key=") {
			return fmt.Sprintf("a credential went out: %q", a.target)
		}
	}
	return ""
}
