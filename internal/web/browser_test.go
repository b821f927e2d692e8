package web

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	cd "github.com/chromedp/chromedp"
)

// These tests run in Chromium, when COMFYLATCH_BROWSER is set. With
// COMFYLATCH_FRONTENDS, the folder that ./test unpacks ComfyUI's frontends into,
// they try the extension in ComfyUI's real page. COMFYLATCH_SCREENSHOTS is a
// folder for pictures of every page.

type tab struct {
	context.Context
	t *testing.T

	mu    sync.Mutex
	noise []string // what the console said
}

func openTab(t *testing.T, width, height int64) *tab {
	if os.Getenv("COMFYLATCH_BROWSER") == "" {
		t.Skip("COMFYLATCH_BROWSER is not set")
	}
	options := append(cd.DefaultExecAllocatorOptions[:], cd.NoSandbox, cd.Flag("hide-scrollbars", true))
	ctx, cancel := cd.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = cd.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 3*time.Minute)
	t.Cleanup(cancel)
	b := &tab{Context: ctx, t: t}
	view := []cd.EmulateViewportOption{}
	if width < 500 {
		view = append(view, cd.EmulateMobile, cd.EmulateTouch)
	}
	b.do(cd.EmulateViewport(width, height, view...))
	messages := cd.Console(ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			b.hear(fmt.Sprint(m.Type, " ", m.Text, " ", m.URL))
		}
	}()
	return b
}

func (b *tab) hear(line string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.noise = append(b.noise, line)
}

func (b *tab) heard() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.noise)
}

type action = cd.Action[cd.Void]

func (b *tab) do(actions ...action) {
	b.t.Helper()
	if err := cd.Do(b, actions...); err != nil {
		b.t.Fatalf("%v\n%s", err, strings.Join(b.heard(), "\n"))
	}
}

// say evaluates JavaScript and gives the result as text.
func (b *tab) say(js string) string {
	b.t.Helper()
	text, err := cd.Run(b, cd.Evaluate[string]("Promise.resolve("+js+").then(String)", cd.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", js, err)
	}
	return text
}

// wait polls until the expression is true, over navigations too.
func (b *tab) wait(js string) {
	b.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if ok, err := cd.Run(b, cd.Evaluate[bool]("!!("+js+")")); err == nil && ok {
			return
		}
	}
	b.picture("failed")
	b.t.Fatalf("waited in vain for %s\n%s", js, strings.Join(b.heard(), "\n"))
}

func (b *tab) picture(name string) {
	dir := os.Getenv("COMFYLATCH_SCREENSHOTS")
	if dir == "" {
		return
	}
	png, err := cd.Run(b, cd.CaptureScreenshot())
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644)
	}
	if err != nil {
		b.t.Error(err)
	}
}

// quiet fails if the page broke its own policy or threw.
func (b *tab) quiet() {
	b.t.Helper()
	for _, line := range b.heard() {
		if strings.Contains(line, "Content Security Policy") || strings.Contains(line, "Error:") {
			b.t.Error(line)
		}
	}
}

func TestPagesInABrowser(t *testing.T) {
	for size, wh := range map[string][2]int64{"phone": {390, 844}, "desktop": {1280, 800}} {
		t.Run(size, func(t *testing.T) {
			b := openTab(t, wh[0], wh[1])
			g := startGate(t, "")
			show := func(name, path string) {
				b.do(cd.Navigate(g.URL+path), cd.Sleep(200*time.Millisecond))
				b.picture(name + "-" + size)
				if wide := b.say("document.documentElement.scrollWidth > innerWidth"); wide == "true" {
					t.Errorf("%s is wider than the window", name)
				}
			}
			show("login", "/login")
			if !g.wasAsked("GET /materialdesignicons.min.css anonymous") {
				t.Error("the frontend's files are not fetched while the password is typed")
			}
			b.do(cd.SendKeys("#password", "wrong\r"), cd.WaitVisible("#alert"))
			b.picture("login-wrong-" + size)
			if got := b.say("document.activeElement.id"); got != "password" {
				t.Errorf("the focus is on %q", got)
			}
			show("key", "/auth_login.html")
			show("not-found", "/_latch/static/nothing")
			b.do(cd.Navigate(g.URL+"/login"), cd.SendKeys("#password", "correct horse\r"), cd.WaitNotPresent("#login"))
			show("logout", "/logout")
			b.do(cd.Click("#submit"), cd.WaitVisible("#login"))
			b.picture("logged-out-" + size)
			g.login.status.SetUp, g.login.status.OwnerName = false, ""
			show("set-up", "/login")
			b.do(cd.SendKeys("#username", "Ada"), cd.SendKeys("#password", "correct horse battery"))
			if got := b.say("document.querySelector('#strength p').textContent"); got != "Strong." && got != "Good." {
				t.Errorf("strength %q", got)
			}
			b.picture("set-up-typed-" + size)
			g.login.status.SetUp = true
			g.end("session-of-owner", false)
			b.do(cd.Navigate(g.URL+"/login"), cd.SendKeys("#password", "correct horse\r"), cd.WaitNotPresent("#login"))
			g.starting.Store(true)
			show("starting", "/")
			g.starting.Store(false)
			b.wait("document.title.indexOf('starting') < 0") // comes back by itself
			b.quiet()
		})
	}
}

func TestKeyPageInABrowser(t *testing.T) {
	b := openTab(t, 1280, 800)
	g := startGate(t, "")
	b.do(cd.Navigate(g.URL+"/auth_login.html"), cd.SendKeys("#api_key", "wrong\r"), cd.WaitVisible("#alert"))
	if got := b.say("document.getElementById('alert').textContent"); got != "Wrong API key." {
		t.Errorf("says %q", got)
	}
	b.do(cd.SetValue("#api_key", oddKey), cd.Click("#remember"), cd.Click("#submit"), cd.WaitNotPresent("#key-form"))
	if got := b.say("localStorage.getItem('comfyui_api_key') + location.pathname"); got != "browser-token/" {
		t.Errorf("stored and went to %q", got)
	}
	b.do(cd.Navigate(g.URL + "/auth_login.html?logout=true"))
	b.wait("document.getElementById('status').textContent === 'You are logged out.'")
	if got := b.say("localStorage.length + sessionStorage.length"); got != "0" {
		t.Errorf("%s things are stored", got)
	}
	if !g.hasEnded("browser-token") {
		t.Error("the token is still good")
	}
	b.quiet()
}

// frontends are the real pages of ComfyUI to try.
func frontends(t *testing.T) []string {
	list, err := filepath.Glob(filepath.Join(os.Getenv("COMFYLATCH_FRONTENDS"), "frontend-*", "comfyui_frontend_package", "static"))
	if err != nil || os.Getenv("COMFYLATCH_FRONTENDS") == "" || len(list) == 0 {
		t.Skip("COMFYLATCH_FRONTENDS names no folder with ComfyUI's frontends")
	}
	return list
}

const ready = "window.app?.graph && window.app.extensionManager && document.querySelector('canvas')"

// clickable: nothing of the page's start lies over the button any more.
const clickable = "((e, r = e?.getBoundingClientRect()) => e?.contains(document.elementFromPoint(r.x + r.width / 2, r.y + r.height / 2)))" +
	"(document.querySelector('.comfylatch-logout'))"

// version names a frontend in pictures.
func version(root string) string {
	return filepath.Base(filepath.Dir(filepath.Dir(root)))
}

func TestExtensionForTheOwner(t *testing.T) {
	for _, root := range frontends(t) {
		t.Run(version(root), func(t *testing.T) {
			b := openTab(t, 1280, 800)
			g := startGate(t, root)
			b.do(cd.Navigate(g.URL+"/login"), cd.SendKeys("#password", "correct horse\r"))
			b.wait(ready)
			b.wait("document.querySelector('.comfylatch-logout')?.offsetParent")
			b.do(cd.Sleep(2 * time.Second))
			b.picture("comfyui-owner-" + version(root))
			b.say("localStorage.setItem('Comfy.Left', 'something'), ''")

			// The session ends elsewhere: back to the login, and here again.
			g.end("session-of-owner", true)
			b.do(cd.Evaluate[cd.Void]("comfyAPI.api.api.fetchApi('/queue'), 1"))
			b.wait("document.getElementById('login')")
			if got := b.say("document.querySelector('.notice').textContent"); !strings.Contains(got, "session has ended") {
				t.Errorf("says %q", got)
			}
			b.do(cd.SendKeys("#password", "correct horse\r"))
			b.wait(ready)
			b.wait(clickable)
			b.do(cd.Reload())
			b.wait(ready)
			b.wait(clickable)
			if !g.wasLeft() {
				t.Error("nobody said good-bye when the page closed")
			}
			b.do(cd.Sleep(time.Second), cd.Click(".comfylatch-logout"))
			b.wait("document.getElementById('login')")
			if got := b.say("localStorage.length + sessionStorage.length + location.pathname"); got != "0/login" {
				t.Errorf("left behind and at: %s", got)
			}
			if !g.hasEnded("session-of-owner") {
				t.Error("the session goes on")
			}
			for _, line := range b.heard() {
				t.Log(line)
			}
		})
	}
}

func TestExtensionForAGuest(t *testing.T) {
	for _, root := range frontends(t) {
		t.Run(version(root), func(t *testing.T) {
			b := openTab(t, 1280, 800)
			g := startGate(t, root)
			b.do(cd.Navigate(g.URL+"/login"), cd.Click("button[name=guest_mode]"))
			b.wait(ready)
			b.wait("document.querySelector('.comfylatch-logout')?.offsetParent")
			b.do(cd.Sleep(3 * time.Second))
			if got := b.say("[...document.querySelectorAll('body *')].filter((e) => !e.childElementCount && e.textContent.trim() === 'GUEST' && e.checkVisibility()).length"); got != "1" {
				t.Errorf("%s GUEST badges", got)
			}
			if got := b.say("[...document.querySelectorAll('.model-library-tab-button,.workflows-tab-button')].filter((e) => e.checkVisibility()).length"); got != "0" {
				t.Errorf("%s tabs that guests cannot use", got)
			}
			b.do(cd.Evaluate[cd.Void]("app.extensionManager.command.execute('Comfy.SaveWorkflow'), 1"), cd.Sleep(time.Second))
			b.do(cd.Evaluate[cd.Void]("app.extensionManager.command.commands.find((c) => c.id === 'Comfy.ShowSettingsDialog').function(), 1"), cd.Sleep(time.Second))
			b.picture("comfyui-guest-" + version(root))
			if got := b.say("['Guests cannot save', 'Settings are not open'].every((s) => document.body.innerText.includes(s))"); got != "true" {
				t.Error("saving or settings are not answered kindly")
			}
			if got := b.say("app.extensionManager.setting.set('Comfy.TextareaWidget.FontSize', 17).then(() => app.extensionManager.setting.get('Comfy.TextareaWidget.FontSize'))"); got != "17" {
				t.Errorf("a setting is not kept in the window: %s", got)
			}
			for _, line := range b.heard() {
				t.Log(line)
			}
		})
	}
}
