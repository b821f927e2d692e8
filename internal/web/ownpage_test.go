package web

import (
	"bytes"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// oldPage is a page in the manner of ComfyUI-Login's, customised by its owner.
const oldPage = `<!DOCTYPE html>
<html><head><title>Studio 7</title>
<link rel="stylesheet" type="text/css" href="./old_css/style.css" />
<style>body { text-align: center }</style></head>
<body><div class="comfy-modal">{# our own words #}
{% if wrong_password %}<p>Nope.</p>{% endif %}
{%- if first_time and not guest_mode -%}<p>Hello, stranger.</p>
{% elif first_time or prompt_for_username %}<p>Choose a name.</p>
{% else %}<p>Good to see you, {{ username }}!</p>{% endif %}
<form action="/login" method="post" id="form_login">
<input type="hidden" id="guest_mode" name="guest_mode">
{% if first_time or prompt_for_username %}<input name="username" required>{% endif %}
<input type="password" name="password" required>
{% if guest_mode %}<input type="button" value="Guest" onclick="document.getElementById('guest_mode').value='1';">{% endif %}
</form></div><script>window.onload = function () {};</script></body></html>`

// studio is a site with a login.html of its owner's, and its log.
func studio(t testing.TB, login LoginService, page string) (s *Site, path string, log *bytes.Buffer) {
	path, log = filepath.Join(t.TempDir(), "login.html"), new(bytes.Buffer)
	if page != "" {
		write(t, path, page)
	}
	s = newSite(t, login, func(o *Options) {
		o.LoginPage, o.Log = path, slog.New(slog.NewTextHandler(log, nil))
	})
	return s, path, log
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestOldLoginPageWorks(t *testing.T) {
	s, _, log := studio(t, setUp(), oldPage)
	w := ask{target: "/login?next=/a"}.to(t, s)
	wantText(t, w, "Good to see you, Ada!")
	wantText(t, w, `href="/_latch/static/old.css"`)
	wantText(t, w, `name="next" value="/a"`)
	wantText(t, w, `value="Guest"`)
	if got := w.Header().Get("Content-Security-Policy"); got != ownersPolicy {
		t.Errorf("policy %q", got)
	}
	for _, never := range []string{"Nope", "stranger", "our own words", "{%", "{{"} {
		if strings.Contains(w.Body.String(), never) {
			t.Errorf("the page holds %q", never)
		}
	}
	wantStatus(t, ask{target: "/_latch/static/old.css"}.to(t, s), http.StatusOK)

	w = ask{method: "POST", target: "/login", body: fields("password", "x", "next", "/a", "guest_mode", "")}.to(t, s)
	wantStatus(t, w, http.StatusUnauthorized)
	wantText(t, w, "Nope.")
	wantText(t, w, `name="next" value="/a"`)
	w = ask{method: "POST", target: "/login", body: fields("password", strings.Repeat("x", 2000))}.to(t, s)
	wantText(t, w, "at most 1000 bytes") // the page has no place for it
	if strings.Contains(log.String(), "ERROR") {
		t.Errorf("log: %s", log)
	}
}

func TestOldLoginPageAtSetUp(t *testing.T) {
	s, _, _ := studio(t, &fakeLogin{code: "K7PQ"}, oldPage)
	wantText(t, ask{target: "/login"}.to(t, s), "Hello, stranger.")
	// It has no field for the code, which is needed from another machine.
	wantText(t, ask{target: "/login", remote: true}.to(t, s), `name="code"`)
}

func TestOwnLoginPageInGoTemplates(t *testing.T) {
	s, _, _ := studio(t, setUp(), `<h1>Studio 7</h1>{{with .Error}}<b>{{.}}</b>{{end}}<form method=post><input name="next" value="{{.Next}}">`+
		`<input name=username value="{{.Username}}"><input name=password type=password></form>`)
	w := ask{method: "POST", target: "/login", body: fields("username", `"><script>`, "password", "x", "next", "/b")}.to(t, s)
	wantText(t, w, "<b>Wrong name or password.</b>")
	wantText(t, w, `value="&#34;&gt;&lt;script&gt;"`)
	wantText(t, w, `value="/b"`)
	if n := strings.Count(w.Body.String(), `name="next"`); n != 1 {
		t.Errorf("%d fields for next", n)
	}
}

func TestOwnLoginPageShowsEditsWithinThreeSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, path, log := studio(t, setUp(), "")
		see := func(text string) {
			t.Helper()
			time.Sleep(3 * time.Second)
			wantText(t, ask{target: "/login"}.to(t, s), text)
		}
		see("Log in to ComfyUI")
		write(t, path, `<form>one <input name="password"></form>`)
		see("one")
		write(t, path, `<form>two <input name="password"></form>`) // the same size
		see("two")
		write(t, path, `<form>{{if}} <input name="password"></form>`)
		see("Log in to ComfyUI")
		see("Log in to ComfyUI")
		if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
			t.Errorf("%d complaints, want one for the change:\n%s", n, log)
		}
		write(t, path, `<form>three <input name="password"></form>`)
		see("three")
		os.Remove(path)
		see("Log in to ComfyUI")
	})
}

func TestBrokenLoginPageIsNoLockOut(t *testing.T) {
	for name, page := range map[string]string{
		"empty":                "",
		"no password field":    "<p>Hello</p>",
		"half written":         oldPage[:300],
		"Jinja that we lack":   `{% for x in y %}password{% endfor %}`,
		"unknown filter":       `{{ username|upper }} password`,
		"not closed":           `{% if first_time %} password`,
		"Go: no such field":    `{{.Password}} password`,
		"Go: fails at the end": `{{range .Username}}{{end}}{{index .Next 99}} password`,
		"Go: endless":          `{{define "a"}}{{template "a"}}{{end}}{{template "a"}} password`,
		"ambiguous context":    `<a href="{{if .GuestMode}}"{{end}}>password`,
		"too large":            "password" + strings.Repeat(" ", maxOwnPage),
		"not text":             "password\xff\xfe{{\x00}}",
	} {
		t.Run(name, func(t *testing.T) {
			s, path, log := studio(t, setUp(), "")
			write(t, path, page)
			wantText(t, ask{target: "/login"}.to(t, s), "Log in to ComfyUI")
			wantText(t, ask{target: "/login"}.to(t, s), "Log in to ComfyUI")
			if n := strings.Count(log.String(), "level=ERROR"); n != 1 || !strings.Contains(log.String(), "reason=") {
				t.Errorf("%d complaints, want one:\n%s", n, log)
			}
		})
	}
	t.Run("a folder", func(t *testing.T) {
		s, path, log := studio(t, setUp(), "")
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		wantText(t, ask{target: "/login"}.to(t, s), "Log in to ComfyUI")
		if !strings.Contains(log.String(), "not a file") {
			t.Errorf("log: %s", log)
		}
	})
}
