package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/css"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	cd "github.com/chromedp/chromedp"
)

// window is a browser with a profile of its own, behind a slow link to a server.
type window struct {
	ctx   context.Context
	link  *link
	close func()
}

// watch notes in every page when the graph stands: the node types are known
// and there is a canvas to draw them on.
const watch = `(() => {
  if (window.top !== window) return;
  performance.setResourceTimingBufferSize(10000);
  const look = setInterval(() => {
    try {
      if (!window.app?.graph || !document.querySelector('canvas') || Object.keys(LiteGraph.registered_node_types).length <= 10) return;
      window.benchReady = performance.timeOrigin + performance.now();
      clearInterval(look);
    } catch { /* not yet */ }
  }, 20);
})()`

const longestVisit = 3 * time.Minute // of a browser's life

// openBrowser starts a browser that has never been anywhere.
func (b *bench) openBrowser(path string, to *server) (w *window, err error) {
	l, err := newLink(to.addr)
	if err != nil {
		return nil, err
	}
	profile, err := os.MkdirTemp(b.dir, "profile-")
	if err != nil {
		l.Close()
		return nil, err
	}
	options := append(cd.DefaultExecAllocatorOptions[:], cd.ExecPath(path), cd.UserDataDir(filepath.Join(profile, "user")),
		cd.NoSandbox, cd.DisableGPU, cd.Flag("disable-quic", true), cd.Flag("disable-component-update", true),
		cd.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")) // the page asks strangers, too
	limit, stopLimit := context.WithTimeout(b.ctx, longestVisit)
	alloc, stopAlloc := cd.NewExecAllocator(limit, options...)
	ctx, stop := cd.NewContext(alloc)
	w = &window{ctx: ctx, link: l, close: func() {
		end, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		cd.Cancel(end)
		stop()
		stopAlloc()
		stopLimit()
		os.RemoveAll(profile)
		l.Close()
	}}
	if err := cd.Do(ctx); err != nil {
		w.close()
		return nil, fmt.Errorf("start the browser: %w", err)
	}
	return w, nil
}

// tab opens a tab, in which watch runs. Each load has one of its own: nothing
// but the browser's cache is left of the one before.
func (w *window) tab() (ctx context.Context, closeTab func(), err error) {
	hear := func(event any) {
		if _, ok := event.(*page.EventJavascriptDialogOpening); ok { // whether to leave the page: yes
			go cd.Call(ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: true})
		}
	}
	ctx, closeTab = cd.NewContext(w.ctx, cd.WithListener(hear))
	err = cd.Do(ctx)
	// What a tab is asked to tell from its beginning costs it a second of a load.
	for _, disable := range []cdp.Command[cdp.Empty, cdp.Empty]{css.Disable, dom.Disable, network.Disable, log.Disable} {
		if err == nil {
			_, err = cd.Call(ctx, disable, cdp.Empty{})
		}
	}
	if err == nil {
		_, err = cd.Call(ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: watch})
	}
	if err != nil {
		closeTab()
		return nil, nil, fmt.Errorf("open a tab: %w", err)
	}
	return ctx, closeTab, nil
}

func (w *window) setCookie(name, value string) error {
	_, err := cd.Call(w.ctx, network.SetCookie, network.SetCookieParams{Name: name, Value: value, URL: w.link.url("/")})
	return err
}

// load goes to the page and waits until the graph stands.
func (w *window) load() (visitLoad, error) {
	tab, closeTab, err := w.tab()
	if err != nil {
		return visitLoad{}, err
	}
	defer closeTab()
	before := w.link.down.bytes.Load()
	// Not cd.Navigate, which waits for the page's end: the graph may stand before.
	r, err := cd.Call(tab, page.Navigate, page.NavigateParams{URL: w.link.url("/")})
	if err == nil && r.ErrorText != "" {
		err = errors.New(r.ErrorText)
	}
	if err != nil {
		return visitLoad{}, fmt.Errorf("go to the page: %w", err)
	}
	return w.ready(tab, "performance.timeOrigin", before)
}

// logIn waits on the login page for as long as typing takes, logs in, and
// waits until the graph stands.
func (w *window) logIn() (visitLoad, error) {
	tab, closeTab, err := w.tab()
	if err != nil {
		return visitLoad{}, err
	}
	defer closeTab()
	if err := cd.Do(tab, cd.Navigate(w.link.url("/login"))); err != nil {
		return visitLoad{}, err
	}
	time.Sleep(typing)
	before := w.link.down.bytes.Load()
	pressed, err := cd.Run(tab, cd.Evaluate[float64](fmt.Sprintf(`(() => {
  document.getElementById('username').value = %q;
  document.getElementById('password').value = %q;
  setTimeout(() => document.getElementById('submit').click());
  return performance.timeOrigin + performance.now();
})()`, benchUser, benchPassword)))
	if err != nil {
		return visitLoad{}, fmt.Errorf("press Log in: %w", err)
	}
	return w.ready(tab, fmt.Sprint(int64(pressed)), before)
}

var errNotReady = errors.New("the graph did not come within two minutes")

// ready waits for the graph; since is JavaScript for when the wait began, before
// the bytes that had come over the link by then.
func (w *window) ready(tab context.Context, since string, before int64) (visitLoad, error) {
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end) && tab.Err() == nil; time.Sleep(100 * time.Millisecond) {
		ms, err := cd.Run(tab, cd.Evaluate[float64]("window.benchReady ? window.benchReady - "+since+" : 0"))
		if err == nil && ms > 0 {
			time.Sleep(500 * time.Millisecond) // what was under way, for the count
			requests, err := cd.Run(tab, cd.Evaluate[int]("performance.getEntriesByType('resource').length + 1"))
			return visitLoad{time.Duration(ms * float64(time.Millisecond)), w.link.down.bytes.Load() - before, requests}, err
		}
	}
	state, _ := cd.Run(tab, cd.Evaluate[string]("location + ' ' + document.readyState + ' ' + !!window.app?.graph + ' ' + document.querySelectorAll('canvas').length + ' ' + (window.LiteGraph && Object.keys(LiteGraph.registered_node_types).length)"))
	return visitLoad{}, errors.Join(fmt.Errorf("%w: %s", errNotReady, state), tab.Err())
}
