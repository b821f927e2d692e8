package server

import (
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestNamesOfTheHostAreNotBelieved(t *testing.T) {
	form := "username=me&password=secret"
	ask := func(h *house, method, target, host, body string, lines ...string) answer {
		text := method + " " + target + " HTTP/1.1\r\nHost: " + host + "\r\n" + strings.Join(append(lines, ""), "\r\n")
		if body != "" {
			text += fmt.Sprintf("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n", len(body))
		}
		return h.raw(text+"\r\n"+body, method)[0]
	}
	h := newHouse(t, nil)
	h.setUp()
	for _, c := range []struct{ name, host, line string }{
		{"C1 Host poisoning", "evil.example", "X-A: b"},
		{"C1 X-Forwarded-Host", h.addr, "X-Forwarded-Host: evil.example"},
		{"C1 Forwarded", h.addr, "Forwarded: host=evil.example"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := *h
			h.t = t
			for _, got := range []answer{
				ask(&h, "GET", "/?x=1", c.host, "", c.line, "Accept: text/html"),
				ask(&h, "GET", "/login?next=/x", c.host, "", c.line),
				ask(&h, "POST", "/login", c.host, form, c.line),
			} {
				if to := got.header.Get("Location"); strings.Contains(to, "evil") || strings.HasPrefix(to, "//") || to != "" && to[0] != '/' {
					t.Errorf("the answer leads to %q", to)
				}
				if strings.Contains(got.body, "evil") {
					t.Errorf("the page names the host: %s", short(got.body))
				}
				for _, cookie := range got.header.Values("Set-Cookie") {
					if strings.Contains(strings.ToLower(cookie), "domain") {
						t.Errorf("the cookie names a domain: %s", cookie)
					}
				}
			}
		})
	}
	named := newHouse(t, func(o *Options) { o.Hosts = []string{"comfy.example"} })
	named.setUp()
	for _, c := range []struct {
		name, host string
		want       int
	}{
		{"C1 another host than the configured", "evil.example", 421},
		{"C1 the configured one behind an @", "comfy.example@evil.example", 421},
		{"C1 a longer one", "comfy.example.evil.example", 421},
		{"C1 its name as a port", "evil.example:comfy.example", 421},
		{"C1 none", "", 421},
		{"C1 control", "comfy.example", 200},
		{"C1 control with a port", "Comfy.Example:8189", 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := *named
			h.t = t
			got := ask(&h, "GET", "/queue", c.host, "", bearer)
			if got.status != c.want && !(c.want == 421 && got.status == 400) {
				t.Errorf("got %d, want %d", got.status, c.want)
			}
		})
	}
}

// TestATokenIsWorthTheSameWhereverItStands asks for what a user may and for
// what they may not, with the token in each place.
func TestATokenIsWorthTheSameWhereverItStands(t *testing.T) {
	h := newHouse(t, nil)
	h.setUp()
	_, user, _ := strings.Cut(h.token("user"), "Bearer ")
	q := url.QueryEscape(user)
	for _, c := range []struct{ name, prefix, query, line string }{
		{"D13 as Bearer", "", "", "Authorization: Bearer " + user},
		{"D13 as Basic password", "", "", "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("owner:"+user))},
		{"D13 as X-API-Key", "", "", "X-API-Key: " + user},
		{"D13 as token", "", "token=" + q, "X-A: b"},
		{"D13 as api_key", "", "api_key=" + q, "X-A: b"},
		{"D13 in the path", "/k/" + q, "", "X-A: b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := *h
			h.t = t
			for path, want := range map[string]int{"/models": 200, "/api/models": 200, "/internal/logs": 403, "/api/internal/logs": 403, "/manager/reboot": 403, "/nowhere": 403, "/userdata/ComfyUI-Manager%2Fconfig.ini": 403} {
				h.wantStatus(h.get(c.prefix+path+"?"+c.query, c.line), want)
			}
			got := h.get(c.prefix+"/ws?clientId=a&"+c.query, c.line, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
			h.wantStatus(got, 101)
			if strings.Contains(h.get(c.prefix+"/system_stats?"+c.query, c.line).body, h.comfy.Dir()) {
				t.Error("a user sees the command line")
			}
		})
	}
	t.Run("D15 cache key confusion", func(t *testing.T) {
		h := *h
		h.t = t
		basic := func(name, password string) string {
			return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password))
		}
		h.wantStatus(h.get("/queue", basic("any", testKey)), 200)
		h.wantStatus(h.get("/queue", basic("any"+testKey[:1], testKey[1:])), 401)
		h.wantStatus(h.get("/queue", basic("an", "y:"+testKey)), 401)
		h.wantStatus(h.get("/internal/logs", "X-API-Key: "+user), 403)
		h.wantStatus(h.get("/internal/logs", bearer), 200)
		h.wantStatus(h.get("/internal/logs", "X-API-Key: "+user), 403)
		for _, c := range []struct{ name, password string }{{"mes", "ecret"}, {"m", "esecret"}, {"mesecret", ""}} {
			got := h.do("POST", "/login", "username="+c.name+"&password="+c.password, "Content-Type: application/x-www-form-urlencoded")
			if got.status == 303 {
				t.Errorf("%q and %q log in", c.name, c.password)
			}
		}
		h.wantStatus(h.do("POST", "/login", "username=me&password=secret", "Content-Type: application/x-www-form-urlencoded"), 303)
	})
	t.Run("C16 foreign session id", func(t *testing.T) {
		h := *h
		h.t = t
		owner := h.do("POST", "/login", "username=me&password=secret", "Content-Type: application/x-www-form-urlencoded").header.Get("Set-Cookie")
		owner, _, _ = strings.Cut(owner, ";")
		_, value, _ := strings.Cut(owner, "=")
		for _, path := range []string{"/_latch/api/sessions/" + value, "/_latch/api/sessions/1", "/_latch/api/sessions"} {
			if got := h.do("DELETE", path, "", "Authorization: Bearer "+user); got.status < 400 {
				t.Errorf("DELETE %s is answered %d", path, got.status)
			}
		}
		h.wantStatus(h.get("/queue", "Cookie: "+owner), 200)
	})
}

func TestATokenInAnAddressGoesNowhere(t *testing.T) {
	h := newHouse(t, nil)
	h.setUp()
	q := url.QueryEscape(testKey)
	t.Run("D16 token in URL", func(t *testing.T) {
		h := *h
		h.t = t
		h.comfy.ForgetRequests()
		page := h.get("/?token="+q+"&x=1", "Accept: text/html")
		h.wantStatus(page, 200)
		if p := page.header.Get("Referrer-Policy"); p != "same-origin" && p != "no-referrer" {
			t.Errorf("Referrer-Policy is %q", p)
		}
		h.wantStatus(h.get("/ws?token="+q+"&clientId=a", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 101)
		for _, r := range h.sent() {
			if strings.Contains(r.URI, "token") || strings.Contains(r.Header.Get("Referer"), "token") {
				t.Errorf("ComfyUI was asked %s", r.URI)
			}
		}
		for _, target := range []string{"/?token=wrongwrong", "/x?a=1&api_key=wrongwrong", "/k/wrongwrong/x"} {
			if to := h.get(target, "Accept: text/html").header.Get("Location"); strings.Contains(to, "wrong") {
				t.Errorf("%s leads to %s", target, to)
			}
		}
	})
	t.Run("F4 early frames", func(t *testing.T) {
		c, err := net.Dial("tcp", h.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(5 * time.Second))
		text := `{"type":"feature_flags","data":{}}`
		frame := append([]byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0}, text...)
		io.WriteString(c, "GET /ws?clientId=early HTTP/1.1\r\nHost: "+h.addr+"\r\n"+bearer+"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"+string(frame))
		var all strings.Builder
		buf := make([]byte, 4096)
		for !strings.Contains(all.String(), `"feature_flags"`) {
			n, err := c.Read(buf)
			if err != nil {
				t.Fatalf("the first frame was not answered: %v after %q", err, short(all.String()))
			}
			all.Write(buf[:n])
		}
	})
}

// TestTheHolesOfComfyUILogin are those confirmed on the running original.
func TestTheHolesOfComfyUILogin(t *testing.T) {
	t.Run("an empty token opens nothing before the set-up", func(t *testing.T) {
		h := newHouse(t, nil)
		for _, target := range []string{"/queue?token=", "/queue?token", "/api/queue?token=&token=", "/ws?token=", "/?token=", "/queue?token=%20", "/queue?token=None", "/queue?token=null"} {
			h.wantStatus(h.get(target), 401)
			h.wantStatus(h.get(target, "Authorization: Bearer "), 401)
		}
		h.wantNothingSent()
		h.wantStatus(h.get("/queue", bearer), 200)
	})
	h := newHouse(t, nil)
	h.setUp()
	cookie := "Cookie: " + h.guest()
	origin := "Origin: " + h.url
	h.do("POST", "/settings", `{"Comfy.Secret":"hush"}`, bearer)
	t.Run("an ending opens no path", func(t *testing.T) {
		h := *h
		h.t = t
		h.comfy.ForgetRequests()
		for _, who := range []struct {
			lines []string
			want  int
		}{{nil, 401}, {[]string{cookie, origin}, 403}} {
			for _, end := range []string{".js", ".css", ".json", ".png", ".ico", ".html", ".svg", "%2fassets%2fx.js", ".js/", "%2ejs", ".js?x=.js"} {
				h.wantStatus(h.do("POST", "/userdata/x"+end, "x", who.lines...), who.want)
			}
			h.wantStatus(h.do("POST", "/userdata/comfy.settings.json/move/leak.js", "", who.lines...), who.want)
			h.wantStatus(h.get("/userdata/leak.js", who.lines...), who.want)
		}
		h.wantNothingSent()
		h.wantStatus(h.do("POST", "/userdata/x.js", "x", bearer), 200)
	})
	t.Run("T40 a guest's prompt does not touch the password", func(t *testing.T) {
		h := *h
		h.t = t
		for _, name := range []string{"../login/PASSWORD", "../login/PASSWORD [input]", "login/../../login/PASSWORD", `..\login\PASSWORD`, filepath.Join(h.state, "PASSWORD")} {
			for _, class := range []string{"LoadImageIncognito", "LoadImage", "LoadAudio", "LoadLatent"} {
				body := `{"prompt":{"1":{"class_type":"` + class + `","inputs":{"image":"` + strings.ReplaceAll(name, `\`, `\\`) + `"}}}}`
				if got := h.do("POST", "/api/prompt", body, cookie, origin); got.status != 400 && got.status != 403 {
					t.Errorf("%s with %q: %d", class, name, got.status)
				}
			}
		}
		if _, err := os.Stat(filepath.Join(h.state, "PASSWORD")); err != nil {
			t.Error(err)
		}
	})
	t.Run("guests generate by /api/prompt too", func(t *testing.T) {
		h := *h
		h.t = t
		for _, path := range []string{"/prompt", "/api/prompt"} {
			got := h.do("POST", path, `{"prompt":{"1":{"class_type":"EmptyImage","inputs":{"width":8,"height":8,"batch_size":1,"color":1}},"2":{"class_type":"PreviewImage","inputs":{"images":["1",0]}}}}`, cookie, origin)
			if h.wantStatus(got, 200); !strings.Contains(got.body, `"prompt_id"`) {
				t.Errorf("got %s", short(got.body))
			}
		}
	})
	t.Run("T36 one and three words are no fault", func(t *testing.T) {
		h := *h
		h.t = t
		for _, line := range []string{"Authorization: Bearer", "Authorization: Bearer a b", "Authorization: ", "Authorization: a b c d"} {
			h.wantStatus(h.get("/queue", line), http.StatusUnauthorized)
		}
	})
}
