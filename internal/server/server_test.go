package server

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"comfylatch/internal/account"
	"comfylatch/internal/audit"
	"comfylatch/internal/cache"
	"comfylatch/internal/login"
	"comfylatch/internal/people"
	"comfylatch/internal/proxy"
	"comfylatch/internal/session"
	"comfylatch/internal/standin"
	"comfylatch/internal/store"
	"comfylatch/internal/throttle"
	"comfylatch/internal/upstream"
	"comfylatch/internal/web"
)

const testKey = "a+b/c=0123456789/x+y="

// house is a gate in front of a stand-in, as the command wires it.
type house struct {
	t     testing.TB
	comfy *standin.Server
	state string
	url   string // of the gate
	addr  string
	log   *syncBuffer
	login *login.Service
	proxy *proxy.Proxy
	up    *upstream.Server
	db    *store.DB

	people *people.Service
}

// syncBuffer is a log that may be read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newHouse(t testing.TB, change func(*Options)) *house {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	h := &house{t: t, state: t.TempDir(), log: &syncBuffer{}}
	log := slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	h.comfy = must[*standin.Server](t)(standin.New(standin.Config{Dir: filepath.Join(h.state, "comfyui"), Record: true}))
	back := httptest.NewServer(h.comfy)
	address := must[*url.URL](t)(url.Parse(back.URL))
	h.db = must[*store.DB](t)(store.Open(ctx, filepath.Join(h.state, "comfylatch.db")))
	events := audit.New(h.db, log)
	sessions := session.New(h.db, session.Config{})
	h.login = must[*login.Service](t)(login.New(ctx, login.Options{StateDir: h.state, APIKey: account.NewSecret(testKey), Store: h.db, Sessions: sessions,
		Throttle: must[*throttle.Limiter](t)(throttle.New(ctx, h.db)), Audit: events, Log: log}))
	h.people = people.New(people.Options{Store: h.db, Login: h.login, Audit: events})
	h.up = must[*upstream.Server](t)(upstream.New(upstream.Options{URL: address, Log: log}))
	h.proxy = proxy.New(proxy.Options{Upstream: h.up, Log: log, OnEnd: sessions.OnEnd,
		OurCookie: func(name string) bool { return name == web.CookieName(true) || name == web.CookieName(false) }})
	memory := &Memory{Sockets: h.proxy, ComfyUI: h.up, Log: log}
	site := must[*web.Site](t)(web.New(web.Options{Desk: &web.Desk{People: h.people, Login: h.login, Audit: events}, Login: h.login, Log: log, Leave: memory.Leave,
		Health: func(ctx context.Context) (any, bool) { v := h.up.Health(ctx); return v, v.OK() }}))
	o := Options{Site: site, Login: h.login, Sessions: h.login, Upstream: h.proxy, Cache: cache.New(cache.Options{Upstream: h.up, Log: log}), Log: log, BindClient: h.proxy.ClientIDs().Bind, NodeModule: upstream.NewNodes(h.up).Module, GuestNodes: []string{"LatchSlowImage"}, Auth: true, APIKey: account.NewSecret(testKey)}
	o.Runs, o.HoldEvents = h.people, h.proxy.Hold
	if change != nil {
		change(&o)
	}
	listener := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	h.addr = listener.Addr().String()
	h.url = "http://" + h.addr
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{h.comfy.Run, h.login.Run, sessions.Run, events.Run,
		func(ctx context.Context) error { return New(o).Serve(ctx, []net.Listener{listener}) }} {
		wg.Go(func() { run(ctx) })
	}
	t.Cleanup(func() {
		stop, done := context.WithTimeout(context.Background(), 3*time.Second)
		h.proxy.Shutdown(stop)
		done()
		cancel()
		wg.Wait()
		back.Close()
		h.comfy.Close()
		h.up.Close()
		h.db.Close()
	})
	return h
}

// setUp chooses the owner's password and gives a session cookie.
func (h *house) setUp() string {
	h.t.Helper()
	local := login.Client{Address: netip.MustParseAddr("127.0.0.1"), Local: true}
	secret, _, err := h.login.SetUp(h.t.Context(), "me", "secret", "", local)
	if err != nil {
		h.t.Fatal(err)
	}
	return web.CookieName(false) + "=" + secret.Reveal()
}

// guest gives a guest's session cookie.
func (h *house) guest() string {
	h.t.Helper()
	if err := os.WriteFile(filepath.Join(h.state, "GUEST_MODE"), nil, 0o600); err != nil {
		h.t.Fatal(err)
	}
	h.eventually("guest mode is on", func() bool { return h.login.Status().Guests })
	secret, _, err := h.login.Guest(h.t.Context(), login.Client{Address: netip.MustParseAddr("192.0.2.7")})
	if err != nil {
		h.t.Fatal(err)
	}
	return web.CookieName(false) + "=" + secret.Reveal()
}

// token makes an API token of a role and gives it as a header line.
func (h *house) token(role string) string {
	h.t.Helper()
	r := map[string]account.Role{"user": account.User, "admin": account.Admin}[role]
	if _, err := h.db.Person(h.t.Context(), "u-"+role); err != nil {
		if err := h.db.PutPerson(h.t.Context(), account.Person{ID: "u-" + role, Name: role, Role: r, CreatedAt: time.Now()}); err != nil {
			h.t.Fatal(err)
		}
	}
	value, _, err := h.login.CreateToken(h.t.Context(), login.NewToken{Name: "a " + role + "'s", Role: r, UserID: "u-" + role})
	if err != nil {
		h.t.Fatal(err)
	}
	return "Authorization: Bearer " + value.Reveal()
}

func (h *house) eventually(what string, ok func() bool) {
	h.t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	h.t.Fatalf("waited in vain until %s", what)
}

// answer is a response, read whole.
type answer struct {
	status int
	header http.Header
	body   string
	closed bool // the connection was closed behind it
}

// raw sends bytes as they are and reads one answer to each of the methods.
func (h *house) raw(text string, methods ...string) []answer {
	h.t.Helper()
	if len(methods) == 0 {
		methods = []string{"GET"}
	}
	c, err := net.Dial("tcp", h.addr)
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		h.t.Fatal(err)
	}
	var all []answer
	br := bufio.NewReader(c)
	for _, m := range methods {
		res, err := http.ReadResponse(br, &http.Request{Method: m})
		if err != nil {
			break
		}
		body, _ := io.ReadAll(res.Body)
		all = append(all, answer{res.StatusCode, res.Header, string(body), res.Close})
		if res.Close {
			break
		}
		c.SetDeadline(time.Now().Add(500 * time.Millisecond)) // a second answer may rightly never come
	}
	if len(all) == 0 {
		h.t.Fatalf("no answer to %q", text)
	}
	return all
}

// get is raw for a GET without a body, with header lines.
func (h *house) get(target string, headers ...string) answer {
	h.t.Helper()
	return h.do("GET", target, "", headers...)
}

func (h *house) do(method, target, body string, headers ...string) answer {
	h.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, target, h.addr)
	for _, line := range headers {
		b.WriteString(line + "\r\n")
	}
	if body != "" || method == "POST" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n" + body)
	return h.raw(b.String(), method)[0]
}

// sent gives what ComfyUI was asked since the last call.
func (h *house) sent() []standin.Request {
	all := h.comfy.Requests()
	h.comfy.ForgetRequests()
	return all
}

func (h *house) wantStatus(got answer, want int) {
	h.t.Helper()
	if got.status != want {
		h.t.Errorf("got %d %q, want %d", got.status, short(got.body), want)
	}
}

func (h *house) wantNothingSent() {
	h.t.Helper()
	for _, r := range h.sent() {
		if r.URI != "/object_info" { // the gate asks that for itself
			h.t.Errorf("ComfyUI was asked %s %s", r.Method, r.URI)
		}
	}
}

func short(s string) string { return cut(s, 300) }

const bearer = "Authorization: Bearer " + testKey

func TestAStrangerIsSentToTheLoginAndAProgramGets401(t *testing.T) {
	h := newHouse(t, nil)
	h.setUp()
	page := h.get("/?x=1", "Accept: text/html")
	h.wantStatus(page, 302)
	if to := page.header.Get("Location"); to != "/login?next=%2F%3Fx%3D1" {
		t.Errorf("Location is %q", to)
	}
	api := h.get("/api/queue")
	h.wantStatus(api, 401)
	if strings.TrimSpace(api.body) != `{"error":"Authentication required."}` || api.header.Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("got %q, WWW-Authenticate %q", api.body, api.header.Get("WWW-Authenticate"))
	}
	h.wantNothingSent()
}

func TestEveryWayToSendAKeyOpensEverything(t *testing.T) {
	h := newHouse(t, nil)
	escaped := url.QueryEscape(testKey)
	for name, c := range map[string]struct {
		target  string
		headers []string
	}{
		"bearer":               {"/queue", []string{bearer}},
		"bearer, other case":   {"/queue", []string{"authorization: bearer " + testKey}},
		"basic":                {"/queue", []string{"Authorization: Basic YW55OmErYi9jPTAxMjM0NTY3ODkveCt5PQ=="}},
		"X-API-Key":            {"/queue", []string{"X-API-Key: " + testKey}},
		"token":                {"/queue?token=" + escaped, nil},
		"token, bare plus":     {"/queue?token=" + testKey, nil},
		"api_key":              {"/queue?api_key=" + escaped, nil},
		"path prefix":          {"/k/" + url.PathEscape(testKey) + "/queue", nil},
		"path prefix, bare":    {"/k/" + testKey + "/queue", nil},
		"the same twice":       {"/queue?token=" + escaped, []string{bearer}},
		"the index by prefix":  {"/k/" + testKey + "/", nil},
		"with the twin prefix": {"/k/" + testKey + "/api/queue", nil},
	} {
		t.Run(name, func(t *testing.T) {
			h := *h
			h.t = t
			h.wantStatus(h.get(c.target, c.headers...), 200)
			for _, r := range h.sent() {
				if strings.Contains(r.URI, "token") || strings.Contains(r.URI, "api_key") || strings.Contains(r.URI, "/k/") || r.Header.Get("Authorization") != "" || r.Header.Get("X-Api-Key") != "" {
					t.Errorf("the key went upstream: %s %v", r.URI, r.Header)
				}
			}
		})
	}
	if strings.Contains(h.log.String(), testKey) || strings.Contains(h.log.String(), escaped) {
		t.Error("the key is in the log")
	}
}

func TestOddCredentialsAreRefusedAndNeverAFault(t *testing.T) {
	h := newHouse(t, nil)
	for name, c := range map[string]struct {
		target  string
		headers []string
		want    int
	}{
		"T31 empty token":               {"/queue?token=", nil, 401},
		"T31 empty api_key":             {"/queue?api_key=", nil, 401},
		"T31 empty X-API-Key":           {"/queue", []string{"X-API-Key:"}, 401},
		"T31 empty bearer":              {"/queue", []string{"Authorization: Bearer "}, 401},
		"T36 one word":                  {"/queue", []string{"Authorization: Bearer"}, 401},
		"T36 three words":               {"/queue", []string{"Authorization: Bearer a b"}, 401},
		"T36 unknown scheme":            {"/queue", []string{"Authorization: Digest x"}, 401},
		"T36 basic that is not base64":  {"/queue", []string{"Authorization: Basic %%%"}, 401},
		"T36 basic without a password":  {"/queue", []string{"Authorization: Basic YW55"}, 401},
		"T36 empty header":              {"/queue", []string{"Authorization:"}, 401},
		"wrong key":                     {"/queue", []string{"Authorization: Bearer wrongwrong"}, 401},
		"wrong key on a public page":    {"/login", []string{"Authorization: Bearer wrongwrong"}, 401},
		"two different":                 {"/queue?token=other-one", []string{bearer}, 400},
		"two different headers":         {"/queue", []string{bearer, "X-API-Key: other-one"}, 400},
		"two different in the query":    {"/queue?token=a1234567&api_key=b1234567", nil, 400},
		"two Authorization headers":     {"/queue", []string{bearer, "Authorization: Bearer other-one"}, 400},
		"empty beside a right one":      {"/queue?token=", []string{bearer}, 401},
		"empty path key":                {"/k//queue", nil, 401},
		"wrong path key":                {"/k/wrongwrong/queue", nil, 401},
		"path key and a different one":  {"/k/" + testKey + "/queue?token=other-one", nil, 400},
		"stale cookie counts as none":   {"/health", []string{"Cookie: comfylatch=cs_0000000000000000000000000000000000000000000"}, 200},
		"stale cookie elsewhere":        {"/queue", []string{"Cookie: comfylatch=cs_0000000000000000000000000000000000000000000"}, 401},
		"C11 two session cookies":       {"/queue", []string{"Cookie: comfylatch=a; comfylatch=b"}, 401},
		"T31 the string None (webui)":   {"/queue", []string{"Authorization: Bearer None"}, 401},
		"invalid bytes in a header":     {"/queue", []string{"Authorization: Bearer \xff\xfe"}, 401},
		"very long key":                 {"/queue", []string{"Authorization: Bearer " + strings.Repeat("a", 20_000)}, 401},
		"Bearer glued to the key":       {"/queue", []string{"Authorization: Bearer" + testKey}, 401},
		"the key with something behind": {"/queue", []string{bearer + "x"}, 401},
	} {
		t.Run(name, func(t *testing.T) {
			h := *h
			h.t = t
			h.comfy.ForgetRequests()
			h.wantStatus(h.get(c.target, c.headers...), c.want)
			if c.want != 200 {
				h.wantNothingSent()
			}
		})
	}
}

func TestTooManyWrongKeysAre429(t *testing.T) {
	h := newHouse(t, nil)
	for i := range 100 {
		got := h.get("/queue", fmt.Sprintf("X-API-Key: guess-%d", i))
		if got.status == 429 {
			if got.header.Get("Retry-After") == "" {
				t.Error("429 without Retry-After")
			}
			return
		}
		h.wantStatus(got, 401)
	}
	t.Error("a hundred wrong keys, and no 429")
}
