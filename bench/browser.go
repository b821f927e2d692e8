package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	cd "github.com/chromedp/chromedp"
)

// window is a browser with a profile of its own.
type window struct {
	ctx   context.Context
	close func()
}

// tab is a page that is open in it.
type tab struct {
	ctx context.Context

	mu       sync.Mutex
	bytes    float64
	requests int
}

// watch notes in every page when the graph stands: the node types are known
// and there is a canvas to draw them on.
const watch = `(() => {
  if (window.top !== window) return;
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
func (b *bench) openBrowser(path string) (w *window, err error) {
	profile, err := os.MkdirTemp(b.dir, "profile-")
	if err != nil {
		return nil, err
	}
	options := append(cd.DefaultExecAllocatorOptions[:], cd.ExecPath(path), cd.UserDataDir(filepath.Join(profile, "user")),
		cd.NoSandbox, cd.DisableGPU, cd.Flag("disable-quic", true), cd.Flag("disable-component-update", true),
		cd.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")) // the page asks strangers, too
	limit, stopLimit := context.WithTimeout(b.ctx, longestVisit)
	alloc, stopAlloc := cd.NewExecAllocator(limit, options...)
	ctx, stop := cd.NewContext(alloc)
	w = &window{ctx: ctx, close: func() {
		end, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		cd.Cancel(end)
		stop()
		stopAlloc()
		stopLimit()
		os.RemoveAll(profile)
	}}
	if err := cd.Do(ctx); err != nil {
		w.close()
		return nil, fmt.Errorf("start the browser: %w", err)
	}
	return w, nil
}

// open opens a tab, on a slow link and watched. Each load has one of its own:
// nothing but the browser's cache is left of the one before.
func (w *window) open() (t *tab, closeTab func(), err error) {
	t = &tab{}
	t.ctx, closeTab = cd.NewContext(w.ctx, cd.WithListener(t.hear))
	if err = t.begin(); err != nil {
		closeTab()
	}
	return t, closeTab, err
}

func (t *tab) begin() error {
	if err := cd.Do(t.ctx); err != nil {
		return fmt.Errorf("open a tab: %w", err)
	}
	if _, err := cd.Call(t.ctx, network.Enable, network.EnableParams{}); err != nil {
		return err
	}
	link := &network.Conditions{Latency: linkLatency, DownloadThroughput: linkSpeed, UploadThroughput: linkSpeed}
	if _, err := cd.Call(t.ctx, network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{MatchedNetworkConditions: []*network.Conditions{link}}); err != nil {
		return fmt.Errorf("make the link slow: %w", err)
	}
	_, err := cd.Call(t.ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: watch})
	return err
}

func (t *tab) hear(event any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e := event.(type) {
	case *network.EventLoadingFinished:
		t.bytes += e.EncodedDataLength
	case *network.EventRequestWillBeSent:
		t.requests++
	case *page.EventJavascriptDialogOpening: // whether to leave the page: yes
		go cd.Call(t.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: true})
	}
}

func (w *window) setCookie(url, name, value string) error {
	_, err := cd.Call(w.ctx, network.SetCookie, network.SetCookieParams{Name: name, Value: value, URL: url})
	return err
}

// counted gives what came over the link since it was asked before.
func (t *tab) counted() (bytes int64, requests int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	bytes, requests = int64(t.bytes), t.requests
	t.bytes, t.requests = 0, 0
	return bytes, requests
}

// load goes to the page and waits until the graph stands.
func (w *window) load(url string) (visitLoad, error) {
	t, closeTab, err := w.open()
	if err != nil {
		return visitLoad{}, err
	}
	defer closeTab()
	// Not cd.Navigate, which waits for the page's end: the graph may stand before.
	r, err := cd.Call(t.ctx, page.Navigate, page.NavigateParams{URL: url})
	if err == nil && r.ErrorText != "" {
		err = errors.New(r.ErrorText)
	}
	if err != nil {
		return visitLoad{}, fmt.Errorf("go to the page: %w", err)
	}
	return t.ready("performance.timeOrigin")
}

// logIn waits on the login page for as long as typing takes, logs in, and
// waits until the graph stands.
func (w *window) logIn(url string) (visitLoad, error) {
	t, closeTab, err := w.open()
	if err != nil {
		return visitLoad{}, err
	}
	defer closeTab()
	if err := cd.Do(t.ctx, cd.Navigate(url)); err != nil {
		return visitLoad{}, err
	}
	time.Sleep(typing)
	t.counted()
	pressed, err := cd.Run(t.ctx, cd.Evaluate[float64](fmt.Sprintf(`(() => {
  document.getElementById('username').value = %q;
  document.getElementById('password').value = %q;
  setTimeout(() => document.getElementById('submit').click());
  return performance.timeOrigin + performance.now();
})()`, benchUser, benchPassword)))
	if err != nil {
		return visitLoad{}, fmt.Errorf("press Log in: %w", err)
	}
	return t.ready(fmt.Sprint(int64(pressed)))
}

var errNotReady = errors.New("the graph did not come within two minutes")

// ready waits for the graph; since is JavaScript for when the wait began.
func (t *tab) ready(since string) (visitLoad, error) {
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end) && t.ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		ms, err := cd.Run(t.ctx, cd.Evaluate[float64]("window.benchReady ? window.benchReady - "+since+" : 0"))
		if err == nil && ms > 0 {
			time.Sleep(500 * time.Millisecond) // what was under way, for the count
			bytes, requests := t.counted()
			return visitLoad{time.Duration(ms * float64(time.Millisecond)), bytes, requests}, nil
		}
	}
	state, _ := cd.Run(t.ctx, cd.Evaluate[string]("location + ' ' + document.readyState + ' ' + !!window.app?.graph + ' ' + document.querySelectorAll('canvas').length + ' ' + (window.LiteGraph && Object.keys(LiteGraph.registered_node_types).length)"))
	return visitLoad{}, errors.Join(fmt.Errorf("%w: %s", errNotReady, state), t.ctx.Err())
}
