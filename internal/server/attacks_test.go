package server

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"comfylatch/internal/web"

	"github.com/coder/websocket"
)

// The cases are named after the rows of the list of attacks that the design
// refers to. Each table has positive controls: the same thing done properly.

func TestPathsThatLeadElsewhere(t *testing.T) {
	h := newHouse(t, nil)
	h.setUp()
	guest := h.guest()
	for _, c := range []struct {
		name, method, target string
		want                 int
		headers              []string
	}{
		{"A1 dot-dot", "GET", "/login/../queue", 400, nil},
		{"A1 dot-dot, known", "GET", "/public/../queue", 400, []string{bearer}},
		{"A2 encoded dots", "GET", "/login/%2e%2e/queue", 400, nil},
		{"A2 upper case", "GET", "/login/%2E./queue", 400, nil},
		{"A4 glued prefix", "GET", "/api../queue", 400, nil},
		{"A4 glued prefix, encoded", "GET", "/api%2e%2e/queue", 400, nil},
		{"A7 double slash", "GET", "//queue", 400, []string{bearer}},
		{"A7 double slash behind api", "GET", "/api//queue", 400, []string{bearer}},
		{"A9 NUL", "GET", "/queue%00", 400, []string{bearer}},
		{"A9 encoded backslash", "GET", "/login%5c..%5cqueue", 400, nil},
		{"A9 backslash", "GET", `/login\..\queue`, 400, nil},
		{"A9 encoded question mark", "GET", "/login%3f/../queue", 400, nil},
		{"A9 double encoding", "GET", "/%2571ueue", 400, []string{bearer}},
		{"A12 query in the match", "GET", "/queue?path=/login", 401, nil},
		{"A12 public ending in the query", "GET", "/queue?x=/assets/a.js", 401, nil},
		{"A15 legal %2F, control", "POST", "/api/userdata/workflows%2Fa.json?overwrite=true", 200, []string{bearer}},
		{"A16 traversal in a name", "GET", "/userdata/..%2f..%2fx", 400, []string{bearer}},
		{"A16 traversal as a guest", "POST", "/userdata/..%2f..%2fx", 400, []string{"guest"}},
		{"A16 Manager's config as a guest", "POST", "/userdata/ComfyUI-Manager%2Fconfig.ini", 403, []string{"guest"}},
		{"A20 own pages", "GET", "/_latch/static/../../queue", 400, nil},
		{"A20 login", "GET", "/login/../queue", 400, nil},
		{"A21 query bomb", "GET", "/queue?" + strings.Repeat("a=1&", 2000) + "hidden=y", 400, []string{bearer}},
		{"A21 endless target", "GET", "/queue?" + strings.Repeat("a", 9000), 414, []string{bearer}},
		{"T7 preview traversal", "GET", "/experiment/models/preview/checkpoints/0/..%2f..%2fx.png", 400, []string{bearer}},
		{"T16 Manager's config by the owner, control", "POST", "/userdata/ComfyUI-Manager%2Fconfig.ini", 200, []string{bearer}},
		{"T17 line break in a query", "GET", "/manager/db_mode?value=cache%0Dsecurity_level=weak", 400, []string{bearer}},
		{"control", "GET", "/api/queue", 200, []string{bearer}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := *h
			h.t = t
			h.comfy.ForgetRequests()
			headers := c.headers
			if len(headers) == 1 && headers[0] == "guest" {
				headers = []string{"Cookie: " + guest, "Origin: " + h.url}
			}
			h.wantStatus(h.do(c.method, c.target, "", headers...), c.want)
			if c.want >= 400 {
				h.wantNothingSent()
			} else if all := h.sent(); len(all) != 1 || all[0].URI != c.target {
				t.Errorf("ComfyUI was asked %v, want %s", all, c.target)
			}
		})
	}
}

func TestASemicolonBelongsToTheValue(t *testing.T) {
	h := newHouse(t, nil)
	t.Run("A22 semicolon query", func(t *testing.T) {
		h.get("/view?filename=a;type=b&preview=webp;90", bearer)
		if all := h.sent(); len(all) != 1 || all[0].URI != "/view?filename=a;type=b&preview=webp;90" {
			t.Errorf("ComfyUI was asked %v", all)
		}
	})
}

// TestNobodyUsesAGuestsDeniedRoutes takes every route that guests may not use,
// in each form that ComfyUI answers.
func TestGuestsAreRefusedInEveryForm(t *testing.T) {
	h := newHouse(t, nil)
	h.setUp()
	cookie, origin := "Cookie: "+h.guest(), "Origin: "+h.url
	for _, c := range []struct{ name, method, path string }{
		{"A17 settings", "POST", "/settings"},
		{"A17 one setting", "POST", "/settings/Comfy.x"},
		{"A17 saving", "POST", "/userdata/a.json"},
		{"A17 reading", "GET", "/userdata/comfy.settings.json"},
		{"A17 deleting", "DELETE", "/userdata/a.json"},
		{"A17 moving", "POST", "/userdata/comfy.settings.json/move/leak.js"},
		{"suffix .js", "POST", "/userdata/x.js"},
		{"T18 Manager", "POST", "/customnode/install/git_url"},
		{"T18 Manager by GET", "GET", "/manager/reboot"},
		{"T20 custom node", "GET", "/video_ui_custom_view"},
		{"T23 free", "POST", "/free"},
		{"T26 logs", "GET", "/internal/logs/raw"},
		{"T26 folders", "GET", "/internal/folder_paths"},
		{"users", "POST", "/users"},
		{"models", "GET", "/models/checkpoints"},
		{"unknown method", "DELETE", "/prompt"},
		{"trailing slash", "POST", "/prompt/"},
		{"unknown path", "GET", "/metrics"},
		{"G10 debug endpoints", "GET", "/debug/pprof/"},
	} {
		for _, prefix := range []string{"", "/api", "/api/api"} {
			t.Run("T1 "+c.name+" "+prefix+c.path, func(t *testing.T) {
				h := *h
				h.t = t
				h.comfy.ForgetRequests()
				h.wantStatus(h.do(c.method, prefix+c.path, "", cookie, origin), 403)
				h.wantStatus(h.do(c.method, prefix+c.path, ""), 401)
				h.wantNothingSent()
			})
		}
	}
	t.Run("control", func(t *testing.T) {
		h := *h
		h.t = t
		h.wantStatus(h.get("/api/object_info/EmptyImage", cookie), 200)
	})
}

func TestIdentityIsNeverTakenFromHeaders(t *testing.T) {
	h := newHouse(t, nil)
	for _, c := range []struct{ name, line string }{
		{"B1 X-Forwarded-User", "X-Forwarded-User: admin"},
		{"B1 Remote-User", "Remote-User: admin"},
		{"B2 underscore", "X_Forwarded_User: admin"},
		{"B2 dot", "X.Forwarded.User: admin"},
		{"B5 comfy-user", "comfy-user: victim"},
		{"B9 original path", "X-Original-URL: /login"},
		{"B9 rewrite path", "X-Rewrite-URL: /login"},
		{"B9 forwarded path", "X-Forwarded-Uri: /login"},
		{"B10 forwarded for", "X-Forwarded-For: 127.0.0.1"},
		{"B14 forwarded proto", "X-Forwarded-Proto: https"},
		{"method override", "X-HTTP-Method-Override: DELETE"},
		{"origin", "Origin: " + h.url},
		{"referer", "Referer: " + h.url + "/"},
		{"expect", "X-Expect: 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := *h
			h.t = t
			h.comfy.ForgetRequests()
			h.wantStatus(h.get("/queue", c.line), 401)
			h.wantNothingSent()
			h.wantStatus(h.get("/queue", bearer, c.line, "Accept: x/y"), 200)
			all := h.sent()
			if len(all) != 1 {
				t.Fatalf("ComfyUI was asked %d times", len(all))
			}
			name, _, _ := strings.Cut(c.line, ":")
			if v, there := all[0].Header[http.CanonicalHeaderKey(name)]; there {
				t.Errorf("%s went upstream: %q", name, v)
			}
			if all[0].Header.Get("Accept") != "x/y" {
				t.Error("control: Accept did not go upstream")
			}
		})
	}
}

func TestOurSecretsStayHereAndOtherCookiesPass(t *testing.T) {
	h := newHouse(t, nil)
	ours := h.setUp()
	t.Run("B16 secrets upstream", func(t *testing.T) {
		h.comfy.ForgetRequests()
		h.wantStatus(h.get("/queue", `Cookie: a=1; `+ours+`; b="x y"; __Host-comfylatch=z; c`), 200)
		all := h.sent()
		if len(all) != 1 {
			t.Fatalf("ComfyUI was asked %d times", len(all))
		}
		if got := all[0].Header.Get("Cookie"); strings.Contains(got, "comfylatch") || !strings.Contains(got, "a=1") || !strings.Contains(got, `b="x y"`) {
			t.Errorf("Cookie upstream is %q", got)
		}
	})
	t.Run("B6 Connection names our headers", func(t *testing.T) {
		h.wantStatus(h.get("/queue", "Cookie: "+ours, "Connection: close, Cookie, Host, Content-Length, X-Forwarded-User"), 200)
	})
}

func TestRequestsOfAnotherSiteAreRefused(t *testing.T) {
	h := newHouse(t, nil)
	cookie := "Cookie: " + h.setUp()
	_, port, _ := strings.Cut(h.addr, ":")
	free := func(lines ...string) int {
		return h.do("POST", "/free", "{}", append(lines, cookie)...).status
	}
	for _, c := range []struct {
		name  string
		want  int
		lines []string
	}{
		{"E1 cross-site", 403, []string{"Sec-Fetch-Site: cross-site"}},
		{"E1 cross-site, no-cors", 403, []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"}},
		{"E1 same-site", 403, []string{"Sec-Fetch-Site: same-site"}},
		{"E1 cross-site with our own origin", 403, []string{"Sec-Fetch-Site: cross-site", "Origin: https://evil.example"}},
		{"T10 null origin", 403, []string{"Origin: null"}},
		{"T10 no origin", 403, nil},
		{"T10 a stranger's", 403, []string{"Origin: https://evil.example"}},
		{"T10 another port", 403, []string{"Origin: http://127.0.0.1:1"}},
		{"T10 a longer host", 403, []string{"Origin: " + h.url + ".evil.example"}},
		{"T10 our host before an @", 403, []string{"Origin: " + h.url + "@evil.example"}},
		{"T18 a form", 403, []string{"Origin: https://evil.example", "Content-Type: application/x-www-form-urlencoded"}},
		{"control: origin", 200, []string{"Origin: " + h.url}},
		{"control: Sec-Fetch-Site", 200, []string{"Sec-Fetch-Site: same-origin"}},
		{"control: a key needs no origin", 200, []string{bearer}},
		{"control: a key from a page", 200, []string{bearer, "Origin: https://other.example", "Sec-Fetch-Site: cross-site"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := free(c.lines...); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
	for _, c := range []struct {
		name, target string
		want         int
		lines        []string
	}{
		{"T18 a link to an old Manager", "/manager/reboot", 403, []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"}},
		{"T18 an image on another port", "/manager/reboot", 403, []string{"Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: no-cors"}},
		{"T18 a link without a word", "/manager/reboot", 403, nil},
		{"T18 control", "/manager/reboot", 404, []string{"Referer: http://127.0.0.1:" + port + "/"}},
		{"a link to the page", "/", 200, []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"}},
		{"a picture in a foreign page", "/view?filename=a.png", 403, []string{"Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: no-cors"}},
		{"T37 log-out by image", "/logout", 200, []string{"Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: no-cors", "Accept: text/html"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := *h
			h.t = t
			h.wantStatus(h.get(c.target, append(c.lines, cookie)...), c.want)
			h.wantStatus(h.get("/queue", cookie), 200)
		})
	}
	t.Run("E4 OPTIONS is not forwarded for strangers", func(t *testing.T) {
		h := *h
		h.t = t
		h.comfy.ForgetRequests()
		h.wantStatus(h.do("OPTIONS", "/prompt", ""), 401)
		h.wantStatus(h.do("OPTIONS", "/prompt", "", "Origin: https://evil.example", "Access-Control-Request-Method: POST"), 401)
		h.wantNothingSent()
	})
}

func TestSocketsOfAnotherOriginAreRefused(t *testing.T) {
	h := newHouse(t, nil)
	cookie := h.setUp()
	dial := func(path, origin string, header http.Header) (int, *websocket.Conn) {
		if header == nil {
			header = http.Header{"Cookie": {cookie}}
		}
		if origin != "" {
			header.Set("Origin", origin)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		c, res, err := websocket.Dial(ctx, h.url+path, &websocket.DialOptions{HTTPHeader: header})
		if err == nil {
			t.Cleanup(func() { c.CloseNow() })
			return 101, c
		}
		if res == nil {
			t.Fatal(err)
		}
		return res.StatusCode, nil
	}
	_, port, _ := strings.Cut(h.addr, ":")
	for _, c := range []struct {
		name, origin string
		want         int
	}{
		{"E3 a stranger's", "https://evil.example", 403},
		{"E3 null", "null", 403},
		{"E3 another port", "http://127.0.0.1:1", 403},
		{"E3 sibling", "http://a.127.0.0.1:" + port, 403},
		{"control", h.url, 101},
	} {
		for _, path := range []string{"/ws", "/api/ws"} {
			t.Run(c.name+" "+path, func(t *testing.T) {
				if got, _ := dial(path, c.origin, nil); got != c.want {
					t.Errorf("got %d, want %d", got, c.want)
				}
			})
		}
	}
	t.Run("a socket without a credential", func(t *testing.T) {
		if got, _ := dial("/ws", h.url, http.Header{}); got != 401 {
			t.Errorf("got %d, want 401", got)
		}
	})
	t.Run("a socket with a key in the query", func(t *testing.T) {
		if got, _ := dial("/ws?token="+testKey, "", http.Header{}); got != 101 {
			t.Errorf("got %d, want 101", got)
		}
	})
	t.Run("C13 log-out ends open sockets", func(t *testing.T) {
		_, c := dial("/ws", h.url, nil)
		h.wantStatus(h.do("POST", "/logout", "", "Cookie: "+cookie, "Origin: "+h.url), 303)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		for {
			if _, _, err := c.Read(ctx); err != nil {
				if ctx.Err() != nil {
					t.Fatal("the socket is still open")
				}
				break
			}
		}
		h.wantStatus(h.get("/queue", "Cookie: "+cookie), 401)
		if got, _ := dial("/ws", h.url, nil); got != 401 {
			t.Errorf("the old cookie opens a socket: %d", got)
		}
	})
}

func TestActiveContentDoesNotRun(t *testing.T) {
	h := newHouse(t, nil)
	for _, f := range []string{"x.svg", "x.html", "x.xhtml"} {
		path := filepath.Join(h.comfy.Dir(), "output", f)
		if err := os.WriteFile(path, []byte(`<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>`), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Run("T6 "+f, func(t *testing.T) {
			got := h.get("/view?type=output&filename="+f, bearer)
			wantInert(t, got)
		})
	}
	t.Run("E5 userdata", func(t *testing.T) {
		h.do("POST", "/userdata/x.html", "<script>alert(1)</script>", bearer)
		wantInert(t, h.get("/userdata/x.html", bearer))
	})
	t.Run("control: the page has the policy that the frontend needs", func(t *testing.T) {
		if p := h.get("/", bearer).header.Get("Content-Security-Policy"); !strings.Contains(p, "'unsafe-eval'") || !strings.Contains(p, "frame-ancestors 'self'") {
			t.Errorf("policy is %q", p)
		}
	})
}

func wantInert(t *testing.T, got answer) {
	t.Helper()
	if got.status != 200 {
		t.Fatalf("got %d", got.status)
	}
	p := got.header.Get("Content-Security-Policy")
	if !strings.HasPrefix(p, "sandbox") || got.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("policy %q, nosniff %q", p, got.header.Get("X-Content-Type-Options"))
	}
	if active(got.header.Get("Content-Type")) && !strings.HasPrefix(got.header.Get("Content-Disposition"), "attachment") {
		t.Errorf("%q is shown inline", got.header.Get("Content-Type"))
	}
}

func TestMessagesThatTwoServersReadDifferently(t *testing.T) {
	h := newHouse(t, nil)
	head := "POST /free HTTP/1.1\r\nHost: " + h.addr + "\r\n" + bearer + "\r\n"
	for _, c := range []struct {
		name, text string
		ok         func(answer) bool
	}{
		{"F6 CL+TE", head + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\nGET /queue HTTP/1.1\r\nHost: x\r\n\r\n", refusedOrClosed},
		{"F8 xchunked", head + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", refused},
		{"F8 identity, chunked", head + "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", refused},
		{"F8 two TE", head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", refused},
		{"F8 TE on HTTP/1.0", strings.Replace(head, "HTTP/1.1", "HTTP/1.0", 1) + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", refusedOrClosed},
		{"F8 odd chunk size", head + "Transfer-Encoding: chunked\r\n\r\n0_2e\r\n\r\n", refused},
		{"F8 bare LF chunk line", head + "Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n", refusedOrClosed},
		{"two Content-Length", head + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x", refused},
		{"signed Content-Length", head + "Content-Length: +2\r\n\r\n{}", refused},
		{"space before the colon", head + "Content-Length : 2\r\n\r\n{}", refused},
		{"obsolete folding", head + "X-A: b\r\n c: d\r\nContent-Length: 2\r\n\r\n{}", func(a answer) bool { return a.status < 500 }},
		{"no Host", "GET /queue HTTP/1.1\r\n" + bearer + "\r\n\r\n", refused},
		{"two Hosts", "GET /queue HTTP/1.1\r\nHost: a\r\nHost: b\r\n" + bearer + "\r\n\r\n", refused},
		{"C2 absolute form", "GET http://evil/queue HTTP/1.1\r\nHost: " + h.addr + "\r\n" + bearer + "\r\n\r\n", refused},
		{"F10 CONNECT", "CONNECT evil:80 HTTP/1.1\r\nHost: evil:80\r\n" + bearer + "\r\n\r\n", refused},
		{"TRACE", "TRACE /queue HTTP/1.1\r\nHost: " + h.addr + "\r\n" + bearer + "\r\n\r\n", refused},
		{"lower case method", "get /queue HTTP/1.1\r\nHost: " + h.addr + "\r\n" + bearer + "\r\n\r\n", refused},
		{"asterisk", "OPTIONS * HTTP/1.1\r\nHost: " + h.addr + "\r\n\r\n", func(a answer) bool { return a.status < 500 }},
		{"HTTP/0.9", "GET /queue\r\n\r\n", refused},
		{"a bare LF line end", "GET /queue HTTP/1.1\nHost: " + h.addr + "\n\n", func(a answer) bool { return a.status == 401 || a.status == 400 }},
		{"control", head + "Content-Length: 2\r\n\r\n{}", func(a answer) bool { return a.status == 200 }},
		{"control: chunked", head + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", func(a answer) bool { return a.status == 200 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := *h
			h.t = t
			all := h.raw(c.text, strings.Fields(c.text)[0], "GET")
			if !c.ok(all[0]) {
				t.Errorf("got %d %q", all[0].status, short(all[0].body))
			}
			if len(all) > 1 && all[1].status == 200 {
				t.Errorf("a second request was answered: %q", short(all[1].body))
			}
		})
	}
	t.Run("B17 trailers", func(t *testing.T) {
		h := *h
		h.t = t
		h.comfy.ForgetRequests()
		got := h.raw(head+"Transfer-Encoding: chunked\r\nTrailer: X-User\r\n\r\n2\r\n{}\r\n0\r\nX-User: root\r\n\r\n", "POST")
		h.wantStatus(got[0], 200)
		for _, r := range h.sent() {
			if r.Header.Get("X-User") != "" || r.Header.Get("Trailer") != "" {
				t.Errorf("a trailer went upstream: %v", r.Header)
			}
		}
	})
	t.Run("F12 Expect without a credential", func(t *testing.T) {
		h := *h
		h.t = t
		got := h.raw("POST /upload/image HTTP/1.1\r\nHost: "+h.addr+"\r\nExpect: 100-continue\r\nContent-Length: 10737418240\r\n\r\n", "POST")
		h.wantStatus(got[0], 401)
		if !got[0].closed {
			t.Error("the connection is kept for 10 GB that nobody wants")
		}
	})
	t.Run("F1 h2c", func(t *testing.T) {
		h := *h
		h.t = t
		h.comfy.ForgetRequests()
		got := h.get("/queue", bearer, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA")
		h.wantStatus(got, 200)
		for _, r := range h.sent() {
			if r.Header.Get("Upgrade") != "" || r.Header.Get("Http2-Settings") != "" {
				t.Errorf("the upgrade went upstream: %v", r.Header)
			}
		}
	})
	t.Run("F2 fake WebSocket", func(t *testing.T) {
		h := *h
		h.t = t
		h.comfy.ForgetRequests()
		got := h.raw("GET /ws HTTP/1.1\r\nHost: "+h.addr+"\r\n"+bearer+"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 777\r\nSec-WebSocket-Key: x\r\n\r\n"+
			"GET /internal/logs HTTP/1.1\r\nHost: "+h.addr+"\r\n\r\n", "GET", "GET")
		if got[0].status < 400 {
			t.Errorf("got %d", got[0].status)
		}
		if len(got) > 1 && got[1].status != 401 {
			t.Errorf("the second request was answered %d", got[1].status)
		}
		for _, r := range h.sent() {
			if strings.Contains(r.URI, "logs") {
				t.Error("the second request reached ComfyUI")
			}
		}
	})
}

func refused(a answer) bool         { return a.status >= 400 && a.status <= 505 && a.status != 500 }
func refusedOrClosed(a answer) bool { return refused(a) || a.closed }

func TestPromptsOfGuests(t *testing.T) {
	h := newHouse(t, nil)
	h.setUp()
	cookie, origin := "Cookie: "+h.guest(), "Origin: "+h.url
	graph := func(image, prefix string) string {
		return fmt.Sprintf(`{"1":{"class_type":"LoadImage","inputs":{"image":%q}},"2":{"class_type":"SaveImage","inputs":{"images":["1",0],"filename_prefix":%q}}}`, image, prefix)
	}
	empty := `{"1":{"class_type":"EmptyImage","inputs":{"width":8,"height":8,"batch_size":1,"color":1}},"2":{"class_type":"SaveImage","inputs":{"images":["1",0],"filename_prefix":"x"}}}`
	for _, c := range []struct {
		name, body string
		want       int
	}{
		{"T9 dot-dot", `{"prompt":` + graph("../x.png", "a") + `}`, 400},
		{"T9 absolute", `{"prompt":` + graph("/etc/passwd", "a") + `}`, 400},
		{"T9 backslash", `{"prompt":` + graph(`..\x`, "a") + `}`, 400},
		{"T9 another's output", `{"prompt":` + graph("x.png [output]", "a") + `}`, 403},
		{"T40 the password", `{"prompt":{"1":{"class_type":"LoadImageIncognito","inputs":{"image":"../login/PASSWORD"}}}}`, 400},
		{"T5 pickles", `{"prompt":{"1":{"class_type":"LoadTrainingDataset","inputs":{"folder_name":"x"}}}}`, 403},
		{"a class that is not there", `{"prompt":{"1":{"class_type":"NoSuchNode","inputs":{}}}}`, 403},
		{"no class", `{"prompt":{"1":{"inputs":{}}}}`, 403},
		{"saving elsewhere", `{"prompt":` + graph("a.png", "../../x") + `}`, 400},
		{"a key twice", `{"prompt":{},"prompt":{}}`, 400},
		{"not JSON", `prompt`, 400},
		{"control", `{"prompt":` + empty + `,"client_id":"g1","number":-1000,"front":true}`, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := *h
			h.t = t
			h.comfy.ForgetRequests()
			got := h.do("POST", "/api/prompt", c.body, cookie, origin)
			h.wantStatus(got, c.want)
			if c.want != 200 {
				h.wantNothingSent()
				if !strings.Contains(got.body, `"node_errors"`) || !strings.Contains(got.body, `"message"`) {
					t.Errorf("not ComfyUI's shape: %s", got.body)
				}
			}
		})
	}
	t.Run("T21 another's client id", func(t *testing.T) {
		h := *h
		h.t = t
		h.wantStatus(h.do("POST", "/prompt", `{"prompt":`+empty+`,"client_id":"owners"}`, bearer), 200)
		h.wantStatus(h.do("POST", "/prompt", `{"prompt":`+empty+`,"client_id":"owners"}`, cookie, origin), 403)
		h.wantStatus(h.do("POST", "/prompt", `{"prompt":`+empty+`,"extra_data":{"client_id":"owners"}}`, cookie, origin), 403)
	})
	t.Run("T23 guests see and end only their own", func(t *testing.T) {
		h := *h
		h.t = t
		slow := `{"1":{"class_type":"EmptyImage","inputs":{"width":8,"height":8,"batch_size":1,"color":5}},"3":{"class_type":"LatchSlowImage","inputs":{"image":["1",0],"steps":200,"step_ms":50}},"2":{"class_type":"PreviewImage","inputs":{"images":["3",0]}}}`
		h.eventually("the guest's own prompt has ended", func() bool { return strings.Contains(h.get("/history", cookie).body, "x_00001_.png") })
		h.wantStatus(h.do("POST", "/prompt", `{"prompt":`+slow+`,"prompt_id":"11111111-1111-4111-8111-111111111111"}`, bearer), 200)
		h.eventually("the owner's prompt runs", func() bool { return strings.Contains(h.get("/queue", bearer).body, "1111") })
		if q := h.get("/queue", cookie).body; strings.Contains(q, "1111") {
			t.Errorf("the guest sees the owner's prompt: %s", q)
		}
		h.wantStatus(h.do("POST", "/interrupt", "", cookie, origin), 200)
		h.wantStatus(h.do("POST", "/interrupt", `{"prompt_id":"11111111-1111-4111-8111-111111111111"}`, cookie, origin), 200)
		h.wantStatus(h.do("POST", "/queue", `{"clear":true,"delete":["11111111-1111-4111-8111-111111111111"]}`, cookie, origin), 200)
		h.wantStatus(h.do("POST", "/history", `{"clear":true}`, cookie, origin), 200)
		if q := h.get("/queue", bearer).body; !strings.Contains(q, "1111") {
			t.Errorf("the guest ended the owner's prompt: %s", q)
		}
		h.eventually("the owner has ended it", func() bool { // one that comes just before the first node is lost, as in ComfyUI
			h.wantStatus(h.do("POST", "/interrupt", "", bearer), 200)
			return !strings.Contains(h.get("/queue", bearer).body, "1111")
		})
	})
	t.Run("T22 queue jumping", func(t *testing.T) {
		h := *h
		h.t = t
		h.eventually("a guest's history has their prompt", func() bool { return strings.Contains(h.get("/history", cookie).body, "x_00001_.png") })
		if b := h.get("/history", cookie).body; strings.Contains(b, "-1000") {
			t.Errorf("the number went upstream: %s", short(b))
		}
		if b := h.get("/history", cookie).body; strings.Contains(b, `"owners"`) || strings.Contains(b, "11111111") {
			t.Errorf("another's prompt is in the guest's history: %s", short(b))
		}
	})
	t.Run("guests view what they made", func(t *testing.T) {
		h := *h
		h.t = t
		h.wantStatus(h.get("/view?filename=x_00001_.png&type=output", cookie), 403)
		h.wantStatus(h.get("/view?filename=..%2Fx.png&type=temp", cookie), 403)
		h.wantStatus(h.get("/view?filename=x.png%20%5Boutput%5D&type=temp", cookie), 403)
		b := h.get("/history", cookie).body
		_, rest, _ := strings.Cut(b, `"subfolder":"`)
		if rest == "" {
			_, rest, _ = strings.Cut(b, `"subfolder": "`)
		}
		folder, _, _ := strings.Cut(rest, `"`)
		h.wantStatus(h.get("/view?filename=x_00001_.png&type=output&subfolder="+folder, cookie), 200)
	})
}

func TestFirstLogInFromElsewhereNeedsTheCode(t *testing.T) {
	h := newHouse(t, nil)
	form := "username=me&password=secret"
	head := []string{"Content-Type: application/x-www-form-urlencoded"}
	for _, c := range []struct{ name, line string }{
		{"T32 first-login race, through a proxy", "X-Forwarded-For: 192.0.2.1"},
		{"T32 first-login race, by another name", "Host: evil.example"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := *h
			h.t = t
			var got answer
			if host, ok := strings.CutPrefix(c.line, "Host: "); ok {
				got = h.raw("POST /login HTTP/1.1\r\nHost: "+host+"\r\n"+head[0]+fmt.Sprintf("\r\nContent-Length: %d\r\n\r\n%s", len(form), form), "POST")[0]
			} else {
				got = h.do("POST", "/login", form, head[0], c.line)
			}
			h.wantStatus(got, 403)
			if _, err := os.Stat(filepath.Join(h.state, "PASSWORD")); err == nil {
				t.Error("a password was stored")
			}
			if len(got.header.Values("Set-Cookie")) > 0 {
				t.Error("a session was made")
			}
		})
	}
	t.Run("T32 first-login race, through a bare proxy", func(t *testing.T) {
		h := *h
		h.t = t
		got := h.raw("POST /login HTTP/1.0\r\nHost: "+h.addr+"\r\n"+head[0]+fmt.Sprintf("\r\nContent-Length: %d\r\n\r\n%s", len(form), form), "POST")[0]
		h.wantStatus(got, 403)
	})
	t.Run("control: with the code", func(t *testing.T) {
		h := *h
		h.t = t
		got := h.do("POST", "/login", form+"&code="+h.login.SetUpCode().Reveal(), head[0], "X-Forwarded-For: 192.0.2.1")
		h.wantStatus(got, 303)
	})
}

func TestWhoStandsInFrontIsBelievedOnlyWhenTrusted(t *testing.T) {
	h := newHouse(t, func(o *Options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	cookieOf := func(a answer) string { return strings.Join(a.header.Values("Set-Cookie"), "; ") }
	form := "username=me&password=secret&code=" + h.login.SetUpCode().Reveal()
	got := h.do("POST", "/login", form, "Content-Type: application/x-www-form-urlencoded", "X-Forwarded-For: 6.6.6.6, 192.0.2.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: comfy.example")
	h.wantStatus(got, 303)
	if c := cookieOf(got); !strings.HasPrefix(c, "__Host-comfylatch=") || !strings.Contains(c, "Secure") {
		t.Errorf("behind TLS the cookie is %q", c)
	}
	if got.header.Get("Strict-Transport-Security") == "" {
		t.Error("no HSTS")
	}
	if !strings.Contains(h.log.String(), "192.0.2.1") || strings.Contains(h.log.String(), "6.6.6.6") {
		t.Errorf("the visitor's address is not the last untrusted one:\n%s", h.log.String())
	}
}

func TestAFaultRefusesAndNeverPasses(t *testing.T) {
	h := newHouse(t, nil)
	t.Run("G9 the store fails", func(t *testing.T) {
		h := *h
		h.t = t
		h.comfy.ForgetRequests()
		h.db.Close()
		got := h.get("/queue", "Cookie: "+web.CookieName(false)+"=cs_1111111111111111111111111111111111111111111")
		h.wantStatus(got, 503)
		h.wantNothingSent()
	})
}
