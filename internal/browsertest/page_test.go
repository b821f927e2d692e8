package browsertest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	cd "github.com/chromedp/chromedp"
)

// tab is a window of a visitor's browser.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	errors   []string // what the console called an error, and requests that failed
	requests map[network.RequestID]*network.Request
	dialogs  int // questions like "leave this page?"
}

type size struct{ width, height int64 }

var (
	phone   = size{390, 844}
	desktop = size{1280, 800}
)

// openTab opens a window for a visitor with a fresh profile.
func openTab(t *testing.T, s size) *tab {
	t.Helper()
	ctx, err := chromium.start()
	if err != nil {
		t.Fatal(err)
	}
	return newTab(t, ctx, s, cd.WithNewBrowserContext())
}

// another opens a second window of the same visitor.
func (p *tab) another() *tab {
	p.t.Helper()
	return newTab(p.t, p.ctx, desktop)
}

func newTab(t *testing.T, parent context.Context, s size, options ...cd.ContextOption) *tab {
	t.Helper()
	p := &tab{t: t, requests: map[network.RequestID]*network.Request{}}
	ctx, cancel := cd.NewContext(parent, append(options, cd.WithListener(p.hear))...)
	t.Cleanup(cancel)
	p.ctx = ctx
	var view []cd.EmulateViewportOption
	if s == phone {
		view = append(view, cd.EmulateMobile, cd.EmulateTouch, cd.EmulateScale(2))
	}
	p.do(cd.EmulateViewport(s.width, s.height, view...))
	t.Cleanup(func() {
		if t.Failed() {
			p.picture("failed-" + strings.ReplaceAll(t.Name(), "/", "-"))
			t.Logf("the page at %s said:\n%s", p.place(), strings.Join(p.complaints(), "\n"))
		}
	})
	return p
}

// hear is called for each event of the page.
func (p *tab) hear(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	complain := func(format string, a ...any) {
		line := tidy(fmt.Sprintf(format, a...))
		// Chromium asks for it once in a while, whatever the page says.
		if !strings.Contains(line, "/favicon.ico") {
			p.errors = append(p.errors, line)
		}
	}
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		p.requests[e.RequestID] = e.Request
	case *network.EventResponseReceived:
		if r := p.requests[e.RequestID]; e.Response.Status >= 400 && r != nil {
			complain("%d %s %s", e.Response.Status, r.Method, r.URL)
		}
	case *network.EventLoadingFailed:
		if r := p.requests[e.RequestID]; r != nil && !e.Canceled {
			complain("%s %s %s", e.ErrorText, r.Method, r.URL)
		}
	case *runtime.EventExceptionThrown:
		d := e.ExceptionDetails
		text := d.Text
		if d.Exception != nil {
			text += " " + d.Exception.Description
		}
		complain("exception: %s", text)
	case *runtime.EventConsoleAPICalled:
		if e.Type == "error" || e.Type == "assert" {
			complain("console: %s", consoleText(e))
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == "error" {
			complain("browser: %s %s", e.Entry.Text, e.Entry.URL)
		}
	case *page.EventJavascriptDialogOpening:
		p.dialogs++
		complain("dialog: %s %s", e.Type, e.Message)
		go cd.Call(p.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: true})
	}
}

func consoleText(e *runtime.EventConsoleAPICalled) string {
	var words []string
	for _, a := range e.Args {
		var text string
		if json.Unmarshal(a.Value, &text) != nil {
			text = string(a.Value)
		}
		words = append(words, strings.TrimSpace(text+" "+a.Description))
	}
	return strings.Join(words, " ")
}

var (
	origins = regexp.MustCompile(`(https?|wss?)://127\.0\.0\.1:\d+`)
	queries = regexp.MustCompile(`\?[^\s"')]*`)
	stack   = regexp.MustCompile(`\n\s+at [^\n]*`)
)

// tidy takes out of a text what differs from load to load.
func tidy(text string) string {
	text = stack.ReplaceAllString(text, "")
	text = origins.ReplaceAllString(text, "")
	return queries.ReplaceAllString(text, "")
}

func (p *tab) complaints() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.errors)
}

// forget makes complaints begin anew.
func (p *tab) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.errors, p.dialogs = nil, 0
}

// asked tells whether the page has asked the visitor something in a dialog.
func (p *tab) asked() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dialogs > 0
}

type action = cd.Action[cd.Void]

// do acts, and fails where that is not possible within two minutes.
func (p *tab) do(actions ...action) {
	p.t.Helper()
	if cd.FromContext(p.ctx).Target == nil { // the first call begins the window's life: no deadline
		if err := cd.Do(p.ctx); err != nil {
			p.t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(p.ctx, 2*time.Minute)
	defer cancel()
	if err := cd.Do(ctx, actions...); err != nil {
		p.t.Fatal(err)
	}
}

func (p *tab) open(url string) { p.t.Helper(); p.do(cd.Navigate(url)) }

func (p *tab) press(selector string) {
	p.t.Helper()
	// At a place, not on a node: the page may be drawn anew under the mouse. It
	// must have come to rest, with nothing in front of it.
	p.wait(selector+" at rest", fmt.Sprintf(`(() => {
  const e = [...document.querySelectorAll(%q)].find((e) => e.checkVisibility({ visibilityProperty: true }));
  if (!e) return false;
  e.scrollIntoView({ block: 'nearest', behavior: 'instant' });
  const r = e.getBoundingClientRect(), before = window.latchPlace;
  const at = window.latchPlace = [r.x + r.width / 2, r.y + r.height / 2];
  return String(before) === String(at) && e.contains(document.elementFromPoint(...at));
})()`, selector))
	at := eval[[]float64](p, "window.latchPlace")
	p.do(cd.MouseClickXY(at[0], at[1]))
}

func (p *tab) typeInto(selector, text string) {
	p.t.Helper()
	p.wait(selector, shown(selector))
	// No action on the node itself: Enter may take the page away under it.
	p.run(fmt.Sprintf("document.querySelector(%q).focus()", selector))
	p.do(cd.KeyEvent(text))
}

// eval runs JavaScript in the page and waits for its promise.
func eval[T any](p *tab, js string) T {
	p.t.Helper()
	v, err := tryEval[T](p, js)
	if err != nil {
		p.t.Fatalf("%s: %v", js, err)
	}
	return v
}

func tryEval[T any](p *tab, js string) (T, error) {
	ctx, cancel := context.WithTimeout(p.ctx, 2*time.Minute)
	defer cancel()
	return cd.Run(ctx, cd.Evaluate[T](js, cd.EvalAwaitPromise))
}

// run runs JavaScript for what it does.
func (p *tab) run(js string) {
	p.t.Helper()
	if _, err := tryEval[cd.Void](p, "(async () => { "+js+" })()"); err != nil {
		p.t.Fatalf("%s: %v", js, err)
	}
}

// wait polls until the JavaScript is true, over navigations too.
func (p *tab) wait(what, js string) {
	p.t.Helper()
	ok := until(func() bool {
		ctx, cancel := context.WithTimeout(p.ctx, 10*time.Second)
		defer cancel()
		v, err := cd.Run(ctx, cd.Evaluate[bool]("!!("+js+")"))
		return err == nil && v
	})
	if !ok {
		p.t.Fatalf("waited in vain: %s", what)
	}
}

// place is the path that the page is at.
func (p *tab) place() string {
	v, _ := tryEval[string](p, "location.pathname + location.search + location.hash")
	return v
}

// cookie is the session cookie as a header has it: name=value.
func (p *tab) cookie(url string) string {
	p.t.Helper()
	r, err := cd.Call(p.ctx, network.GetCookies, network.GetCookiesParams{URLs: []string{url}})
	if err != nil {
		p.t.Fatal(err)
	}
	if len(r.Cookies) != 1 || !r.Cookies[0].HTTPOnly {
		p.t.Fatalf("not one HttpOnly cookie: %v", r.Cookies)
	}
	return r.Cookies[0].Name + "=" + r.Cookies[0].Value
}

// shown is JavaScript for: something that matches is to be seen.
func shown(selector string) string {
	return fmt.Sprintf("[...document.querySelectorAll(%q)].some((e) => e.checkVisibility({visibilityProperty: true}))", selector)
}

// text is JavaScript for: an element with just this text is to be seen.
func text(s string) string {
	return fmt.Sprintf("[...document.querySelectorAll('body *')].some((e) => !e.querySelector('*') && e.textContent.trim() === %q && e.checkVisibility({visibilityProperty: true}))", s)
}

// says is JavaScript for: the page shows this somewhere.
func says(s string) string { return fmt.Sprintf("document.body?.innerText.includes(%q)", s) }

// picture writes what is to be seen, where pictures are wanted.
func (p *tab) picture(name string) {
	dir := os.Getenv("COMFYLATCH_SCREENSHOTS")
	if dir == "" {
		return
	}
	ctx, cancel := context.WithTimeout(p.ctx, time.Minute)
	defer cancel()
	png, err := cd.Run(ctx, cd.CaptureScreenshot())
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644)
	}
	if err != nil {
		p.t.Logf("no picture of %s: %v", name, err)
	}
}
