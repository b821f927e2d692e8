package server

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"comfylatch/internal/login"
)

// spellings are the forms in which a secret may be written down.
func spellings(secret string) []string {
	all := []string{secret, url.QueryEscape(secret), url.PathEscape(secret)}
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		all = append(all, e.EncodeToString([]byte(secret)), e.EncodeToString([]byte("any:"+secret)))
	}
	return all
}

// TestNoSecretIsWrittenDown uses every secret in every way, with the log at
// its most talkative, and looks for each.
func TestNoSecretIsWrittenDown(t *testing.T) {
	h := newHouse(t, nil)
	secrets := map[string]string{"key": testKey, "password": "c0rrect horse+bat/tery", "typed wrong": "wr0ng pass+word/", "wrong key": "wr0ng+key/value=1"}
	form := []string{"Content-Type: application/x-www-form-urlencoded", "Origin: " + h.url}
	enter := func(name, password, more string) answer {
		return h.do("POST", "/login", "username="+name+"&password="+url.QueryEscape(password)+more, form...)
	}
	secrets["set-up code"] = h.login.SetUpCode().Reveal()
	enter("me", secrets["password"], "&code="+secrets["set-up code"])
	got := enter("me", secrets["password"], "")
	_, cookie, _ := strings.Cut(got.header.Get("Set-Cookie"), "=")
	secrets["session"], _, _ = strings.Cut(cookie, ";")
	enter("me", secrets["typed wrong"], "")
	enter(url.QueryEscape(secrets["typed wrong"]), "x", "")
	secrets["console token"] = h.login.ConsoleToken().Reveal()
	token, _, err := h.login.CreateToken(t.Context(), login.NewToken{Name: "a token", Role: 3})
	if err != nil {
		t.Fatal(err)
	}
	secrets["token"] = token.Reveal()
	_, secrets["guest"], _ = strings.Cut(h.guest(), "=")
	if made := h.do("POST", "/_latch/api/browser-token", `{"key":"`+testKey+`"}`, "Content-Type: application/json", "Origin: "+h.url); made.status == 200 {
		_, rest, _ := strings.Cut(made.body, `"token":"`)
		secrets["browser token"], _, _ = strings.Cut(rest, `"`)
	} else {
		t.Errorf("no browser token: %d %s", made.status, short(made.body))
	}
	h.do("POST", "/_latch/api/browser-token", `{"key":"`+secrets["wrong key"]+`"}`, "Content-Type: application/json", "Origin: "+h.url)
	h.do("POST", "/auth_login.html", "api_key="+url.QueryEscape(testKey), form...)
	for name, s := range secrets {
		if len(s) < 6 {
			t.Fatalf("the secret %q is %q", name, s)
		}
		if name == "password" || name == "typed wrong" {
			continue
		}
		q := url.QueryEscape(s)
		for _, target := range []string{"/queue", "/nowhere", "/internal/logs", "/..%2f", "/userdata/..%2f..%2fx", "/ws", "/view?filename=../x", "/k/" + url.PathEscape(s) + "/queue", "/k/" + s + "/nowhere", "/" + url.PathEscape("a b")} {
			sep := "?"
			if strings.Contains(target, "?") {
				sep = "&"
			}
			for _, line := range []string{"Authorization: Bearer " + s, "Authorization: Digest " + s, "X-Api-Key: " + s, "Cookie: comfylatch=" + s, "Cookie: __Host-comfylatch=" + s,
				"Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("any:"+s)), "Referer: " + h.url + "/?token=" + q} {
				h.get(target, line)
			}
			h.get(target + sep + "token=" + q)
			h.get(target+sep+"api_key="+q, "Accept: text/html")
		}
		h.raw("GET http://any:"+url.PathEscape(s)+"@x/queue HTTP/1.1\r\nHost: x\r\n\r\n", "GET")
		h.raw("GET /queue HTTP/1.1\r\nHost: x\r\nAuthorization : Bearer "+s+"\r\n\r\n", "GET")
	}
	// And while ComfyUI does not answer, whose faults are logged too.
	h.up.Close()
	for _, s := range []string{testKey, secrets["token"]} {
		h.get("/queue?token=" + url.QueryEscape(s))
		h.get("/ws?token="+url.QueryEscape(s), "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
	}
	var rows []string
	h.eventually("the events are written", func() bool {
		events, err := h.db.Events(t.Context(), "", 0, 10_000)
		if err != nil {
			t.Fatal(err)
		}
		rows = rows[:0]
		for _, e := range events {
			rows = append(rows, fmt.Sprintf("%+v", e))
		}
		return len(rows) > 5
	})
	time.Sleep(time.Second) // the last of them
	for name, s := range secrets {
		t.Run("G7 "+name, func(t *testing.T) {
			for _, form := range spellings(s) {
				if i := strings.Index(h.log.String(), form); i >= 0 {
					t.Errorf("it is in the log: …%s…", h.log.String()[max(0, i-100):min(len(h.log.String()), i+len(form)+20)])
				}
				for _, row := range rows {
					if strings.Contains(row, form) {
						t.Errorf("it is in the audit log: %s", row)
					}
				}
			}
			files, _ := filepath.Glob(filepath.Join(h.state, "*"))
			for _, f := range files {
				data, err := os.ReadFile(f)
				if err != nil || filepath.Base(f) == "secret.key" {
					continue
				}
				if strings.Contains(string(data), s) {
					t.Errorf("it is in the file %s", filepath.Base(f))
				}
			}
		})
	}
	t.Run("G7 control: the log tells of each request", func(t *testing.T) {
		if n := strings.Count(h.log.String(), "msg=request "); n < 500 || !strings.Contains(h.log.String(), "path=/queue") || !strings.Contains(h.log.String(), "upstream=") {
			t.Errorf("it has %d lines of requests", n)
		}
	})
}

func TestVisitorsTextCannotForgeTheLog(t *testing.T) {
	h := newHouse(t, nil)
	h.setUp()
	forged := "\n time=x level=INFO msg=forged"
	esc := "\x1b[31m"
	for _, c := range []struct {
		name string
		ask  func()
	}{
		{"G6 long name", func() {
			h.do("POST", "/login", "username="+strings.Repeat("n", 900)+"&password=x", "Content-Type: application/x-www-form-urlencoded")
		}},
		{"G6 line break in a name", func() {
			h.do("POST", "/login", "username="+url.QueryEscape("a"+forged)+"&password=x", "Content-Type: application/x-www-form-urlencoded")
		}},
		{"G6 colours in a name", func() {
			h.do("POST", "/login", "username="+url.QueryEscape(esc)+"&password=x", "Content-Type: application/x-www-form-urlencoded")
		}},
		{"G6 right to left", func() {
			h.do("POST", "/login", "username="+url.QueryEscape("a\u202eb")+"&password=x", "Content-Type: application/x-www-form-urlencoded")
			h.get("/" + url.PathEscape("a\u202eb"))
		}},
		{"G6 user agent", func() { h.get("/queue", "User-Agent: a\x01"+strings.Repeat("u", 5000)) }},
		{"G6 path", func() { h.get("/" + url.PathEscape("a b msg=forged \"x\" "+strings.Repeat("p", 2000))) }},
		{"G6 method", func() { h.raw("GET\x1b /queue HTTP/1.1\r\nHost: x\r\n\r\n", "GET") }},
		{"G6 long method", func() { h.raw(strings.Repeat("M", 5000)+" /queue HTTP/1.1\r\nHost: x\r\n\r\n", "GET") }},
		{"G6 host", func() { h.raw("GET /queue HTTP/1.1\r\nHost: a\x1bb\r\n\r\n", "GET") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(h.log.String())
			c.ask()
			time.Sleep(20 * time.Millisecond)
			for line := range strings.Lines(h.log.String()[before:]) {
				if strings.HasPrefix(line, " time=x") || strings.Contains(line, "\x1b") || strings.Contains(line, "\u202e") || len(line) > 1500 || !strings.HasPrefix(line, "time=") {
					t.Errorf("the log has a line of %d bytes: %q", len(line), short(line))
				}
			}
		})
	}
}

// TestALogFloodIsBounded asks in vain for long; the log grows by a short line
// each time, and the audit log keeps what one address did wrong in bounds.
func TestALogFloodIsBounded(t *testing.T) {
	h := newHouse(t, nil)
	h.setUp()
	t.Run("G6 log flood", func(t *testing.T) {
		const n = 500
		before := len(h.log.String())
		for range n {
			c, err := net.Dial("tcp", h.addr)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(c, "GET /%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nConnection: close\r\n\r\n", strings.Repeat("p", 4000), strings.Repeat("k", 4000))
			c.SetReadDeadline(time.Now().Add(5 * time.Second))
			buf := make([]byte, 512)
			c.Read(buf)
			c.Close()
		}
		if grown := len(h.log.String()) - before; grown > n*1200 {
			t.Errorf("the log grew by %d bytes for %d requests of 8,000", grown, n)
		}
	})
}
