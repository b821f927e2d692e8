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

// window is a browser with a profile of its own, which has one page open.
type window struct {
	ctx   context.Context
	close func()

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

// openBrowser starts a browser that has never been anywhere.
func (b *bench) openBrowser(path string) (w *window, err error) {
	profile, err := os.MkdirTemp(b.dir, "profile-")
	if err != nil {
		return nil, err
	}
	options := append(cd.DefaultExecAllocatorOptions[:], cd.ExecPath(path), cd.UserDataDir(filepath.Join(profile, "user")),
		cd.NoSandbox, cd.DisableGPU, cd.Flag("disable-quic", true), cd.Flag("disable-component-update", true),
		cd.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")) // the page asks strangers, too
	alloc, stopAlloc := cd.NewExecAllocator(b.ctx, options...)
	w = &window{}
	ctx, stop := cd.NewContext(alloc, cd.WithListener(w.hear))
	w.ctx, w.close = ctx, func() {
		end, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		cd.Cancel(end)
		stop()
		stopAlloc()
		os.RemoveAll(profile)
	}
	if err := w.begin(); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// begin makes the link slow and has every page watched.
func (w *window) begin() error {
	if err := cd.Do(w.ctx); err != nil {
		return fmt.Errorf("start the browser: %w", err)
	}
	if _, err := cd.Call(w.ctx, network.Enable, network.EnableParams{}); err != nil {
		return err
	}
	link := &network.Conditions{Latency: linkLatency, DownloadThroughput: linkSpeed, UploadThroughput: linkSpeed}
	if _, err := cd.Call(w.ctx, network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{MatchedNetworkConditions: []*network.Conditions{link}}); err != nil {
		return fmt.Errorf("make the link slow: %w", err)
	}
	_, err := cd.Call(w.ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: watch})
	return err
}

func (w *window) hear(event any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e := event.(type) {
	case *network.EventLoadingFinished:
		w.bytes += e.EncodedDataLength
	case *network.EventRequestWillBeSent:
		w.requests++
	}
}

func (w *window) setCookie(url, name, value string) error {
	_, err := cd.Call(w.ctx, network.SetCookie, network.SetCookieParams{Name: name, Value: value, URL: url})
	return err
}

// counted gives what came over the link since it was asked before.
func (w *window) counted() (bytes int64, requests int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	bytes, requests = int64(w.bytes), w.requests
	w.bytes, w.requests = 0, 0
	return bytes, requests
}

// load goes to the page and waits until the graph stands.
func (w *window) load(url string) (visitLoad, error) {
	if err := cd.Do(w.ctx, cd.Navigate("about:blank")); err != nil {
		return visitLoad{}, err
	}
	w.counted()
	go cd.Do(w.ctx, cd.Navigate(url)) // its end is later than the graph, or earlier
	return w.ready("performance.timeOrigin")
}

// logIn waits on the login page for as long as typing takes, logs in, and
// waits until the graph stands.
func (w *window) logIn(url string) (visitLoad, error) {
	if err := cd.Do(w.ctx, cd.Navigate(url)); err != nil {
		return visitLoad{}, err
	}
	time.Sleep(typing)
	w.counted()
	pressed, err := cd.Run(w.ctx, cd.Evaluate[float64](fmt.Sprintf(`(() => {
  document.getElementById('username').value = %q;
  document.getElementById('password').value = %q;
  setTimeout(() => document.getElementById('submit').click());
  return performance.timeOrigin + performance.now();
})()`, benchUser, benchPassword)))
	if err != nil {
		return visitLoad{}, fmt.Errorf("press Log in: %w", err)
	}
	return w.ready(fmt.Sprint(int64(pressed)))
}

var errNotReady = errors.New("the graph did not come within two minutes")

// ready waits for the graph; since is JavaScript for when the wait began.
func (w *window) ready(since string) (visitLoad, error) {
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end) && w.ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		ms, err := cd.Run(w.ctx, cd.Evaluate[float64]("window.benchReady ? window.benchReady - "+since+" : 0"))
		if err == nil && ms > 0 {
			time.Sleep(500 * time.Millisecond) // what was under way, for the count
			bytes, requests := w.counted()
			return visitLoad{time.Duration(ms * float64(time.Millisecond)), bytes, requests}, nil
		}
	}
	return visitLoad{}, errors.Join(errNotReady, w.ctx.Err())
}
