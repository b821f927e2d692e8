package server

import (
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

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
