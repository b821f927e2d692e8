package cache

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"
)

// Prefix is where the files of one build of the frontend stand for browsers:
// Prefix + fingerprint + "/assets/x.js". ComfyUI's page is served with its
// addresses changed to these, so that a browser keeps every file of a build
// for good, also the hundreds whose names have no fingerprint of their own,
// and never mixes the files of two builds.
const Prefix = "/_latch/fe/"

// frontEnd is the build that ComfyUI serves now.
type frontEnd struct {
	mu      sync.Mutex
	raw     string // tag of ComfyUI's page
	build   string // fingerprint in the addresses, "" where the page has none to change
	header  http.Header
	html    []byte // the page with the addresses changed
	page    *Entry // the same with what makes it faster
	hints   int    // how many of seen the page names
	seen    []string
	known   map[string]bool
	loading time.Time // until then what is asked for is a page load's
	warm    string    // the build that was fetched ahead
}

const (
	maxSeen  = 1500             // files of a build that are remembered for fetching ahead
	loadTime = 20 * time.Second // for a page; what is asked for later is somebody's click
)

// Page gives ComfyUI's page for somebody who loads it: with the addresses of
// this build, and with what makes it faster.
func (c *Cache) Page(ctx context.Context) (*Entry, error) {
	if err := c.readPage(ctx); err != nil {
		return nil, err
	}
	c.front.mu.Lock()
	defer c.front.mu.Unlock()
	c.front.loading = time.Now().Add(loadTime)
	if c.front.page == nil || c.front.hints != len(c.front.seen) {
		old := c.front.page
		page := newEntry(c.front.header, c.hinted())
		page.Header.Del("Last-Modified") // of the page before it was changed
		if old != nil && old.tag == page.tag {
			page = old
		} else {
			page.bodies.compress(true)
		}
		c.front.page, c.front.hints = page, len(c.front.seen)
	}
	return c.front.page, nil
}

// readPage looks which build ComfyUI's page is of.
func (c *Cache) readPage(ctx context.Context) error {
	raw, err := c.Get(ctx, "/", Checked)
	if err != nil {
		return err
	}
	c.front.mu.Lock()
	defer c.front.mu.Unlock()
	if c.front.raw == raw.tag && c.front.html != nil {
		return nil
	}
	html, err := raw.Body()
	if err != nil {
		return err
	}
	build := raw.tag[:12]
	changed, ok := useBuild(html, build)
	if !ok {
		build = ""
	}
	c.front.raw, c.front.build, c.front.html, c.front.page = raw.tag, build, changed, nil
	c.front.header = raw.Header
	c.front.seen, c.front.known = nil, make(map[string]bool)
	return nil
}

// useBuild changes the page's own addresses of assets and icons.
func useBuild(html []byte, build string) ([]byte, bool) {
	to := "." + Prefix + build + "/"
	out := bytes.ReplaceAll(html, []byte(`"./assets/`), []byte(`"`+to+`assets/`))
	if bytes.Equal(out, html) {
		return html, false
	}
	out = bytes.ReplaceAll(out, []byte(`href="materialdesignicons.min.css"`), []byte(`href="`+to+`materialdesignicons.min.css"`))
	return out, true
}

// File gives a file of a build. Errors: ErrNotKept where that is not the build
// that ComfyUI serves now and the file is not kept any more.
func (c *Cache) File(ctx context.Context, build, file string) (*Entry, error) {
	if !inFrontEnd(file) {
		return nil, ErrNotKept
	}
	key := Prefix + build + "/" + file
	if e := c.lookup(key); e != nil {
		return e, nil
	}
	e, err := c.Get(ctx, "/"+escape(file), Checked)
	if err != nil {
		return nil, err
	}
	// ComfyUI may just have been updated: what it gave belongs to the build
	// only if its page is still the build's.
	if !c.serves(ctx, build) {
		return nil, ErrNotKept
	}
	c.mu.Lock()
	c.remove("/" + escape(file))
	c.mu.Unlock()
	c.keep(key, e)
	return e, nil
}

// serves tells whether the build is the one that ComfyUI serves now.
func (c *Cache) serves(ctx context.Context, build string) bool {
	if page := c.lookup("/"); page != nil && time.Since(time.Unix(0, page.checked.Load())) > 200*time.Millisecond {
		if _, err := c.ask(ctx, "/"); err != nil {
			return false
		}
	}
	if err := c.readPage(ctx); err != nil {
		return false
	}
	c.front.mu.Lock()
	defer c.front.mu.Unlock()
	return build != "" && build == c.front.build
}

// inFrontEnd tells the files that the package of the frontend ships.
func inFrontEnd(file string) bool {
	return path.Clean(file) == file && (strings.HasPrefix(file, "assets/") || strings.HasPrefix(file, "fonts/") || file == "materialdesignicons.min.css")
}

// escape writes a file's path as a request target.
func escape(file string) string { return (&url.URL{Path: file}).EscapedPath() }

// Loaded is said when somebody known has got a file: it remembers which files
// a build's page loads, in their order. Names that HTML would have to quote are
// none of the frontend's.
func (c *Cache) Loaded(build, file string) {
	c.front.mu.Lock()
	defer c.front.mu.Unlock()
	if build == c.front.build && !c.front.known[file] && len(c.front.seen) < maxSeen && !strings.ContainsAny(file, "\"'<>&") && time.Now().Before(c.front.loading) {
		c.front.known[file] = true
		c.front.seen = append(c.front.seen, file)
	}
}

// Ahead lists the addresses of the files that a page load will ask for, as far
// as they are known: for browsers that have time while a password is typed.
func (c *Cache) Ahead() []string {
	c.front.mu.Lock()
	defer c.front.mu.Unlock()
	var all []string
	for _, file := range c.front.seen {
		all = append(all, Prefix+c.front.build+"/"+escape(file))
	}
	return all
}
