package server

import (
	"context"
	"encoding/base64"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

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
		{"E1 a key that the browser remembers", 403, []string{basic, "Sec-Fetch-Site: cross-site"}},
		{"E1 the same on another port", 403, []string{basic, "Sec-Fetch-Site: same-site"}},
		{"E1 the same, by origin", 403, []string{basic, "Origin: https://evil.example"}},
		{"control: Basic from a program", 200, []string{basic}},
		{"control: Basic in our page", 200, []string{basic, "Sec-Fetch-Site: same-origin", "Origin: " + h.url}},
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
		{"T18 a link of another page to a custom node", "/some_node/act", 403, []string{"Referer: https://evil.example/"}},
		{"T18 a custom node's page by its address", "/some_node/page", 404, nil},
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

// basic is the key as a browser sends it by itself.
var basic = "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("any:"+testKey))

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
	t.Run("E3 with a key that the browser remembers", func(t *testing.T) {
		_, value, _ := strings.Cut(basic, ": ")
		if got, _ := dial("/ws", "https://evil.example", http.Header{"Authorization": {value}}); got != 403 {
			t.Errorf("got %d, want 403", got)
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
