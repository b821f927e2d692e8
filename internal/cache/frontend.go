package cache

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"runtime/debug"
	"slices"
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
	html    []byte // the page with the addresses changed
	page    *Entry // the same with the script that goes first
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
// this build, and with the script that goes first.
func (c *Cache) Page(ctx context.Context) (*Entry, error) {
	if err := c.readPage(ctx); err != nil {
		return nil, err
	}
	c.front.mu.Lock()
	defer c.front.mu.Unlock()
	c.front.loading = time.Now().Add(loadTime)
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
	if c.front.raw == raw.tag && c.front.page != nil {
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
	page := newEntry(raw.Header, putFirst(changed, c.opts.Early))
	page.Header.Del("Last-Modified") // of the page before it was changed
	page.bodies.compress(true)
	c.front.raw, c.front.build, c.front.html, c.front.page = raw.tag, build, changed, page
	c.front.seen, c.front.known = nil, make(map[string]bool)
	return nil
}

var headBegins = regexp.MustCompile(`(?i)<head(?:\s[^>]*)?>`)

// putFirst puts a script at the beginning of the page's head.
func putFirst(html, script []byte) []byte {
	head := headBegins.FindIndex(html)
	if head == nil || len(script) == 0 {
		return html
	}
	return slices.Concat(html[:head[1]], []byte("<script>"), script, []byte("</script>"), html[head[1]:])
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
// a build's page loads, in their order.
func (c *Cache) Loaded(build, file string) {
	c.front.mu.Lock()
	defer c.front.mu.Unlock()
	if build == c.front.build && !c.front.known[file] && len(c.front.seen) < maxSeen && time.Now().Before(c.front.loading) {
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

// Expect says that somebody is about to load the page: Run warms the cache.
func (c *Cache) Expect() {
	select {
	case c.expected <- struct{}{}:
	default: // it is said already
	}
}

// Run warms the cache when a page load is expected, until ctx ends.
func (c *Cache) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.expected:
		}
		switch did, err := c.Warm(ctx); {
		case err != nil && ctx.Err() == nil:
			c.opts.Log.Debug("ComfyUI's page could not be fetched ahead", "err", err)
		case did:
			debug.FreeOSMemory() // reading and compressing took several times what is kept
		}
	}
}

// Warm fetches and compresses what the page will need, before it is asked for:
// the files that it names, and those that they import. Not before somebody is
// about to log in: a gate that nobody uses stays small.
// It tells whether there was something to do.
func (c *Cache) Warm(ctx context.Context) (did bool, err error) {
	if err := c.readPage(ctx); err != nil {
		return false, fmt.Errorf("fetch ComfyUI's page: %w", err)
	}
	c.front.mu.Lock()
	build, html := c.front.build, c.front.html
	done := c.front.warm == build
	c.front.warm = build
	c.front.loading = time.Now().Add(loadTime)
	c.front.mu.Unlock()
	if done || build == "" {
		return false, nil
	}
	imports := importMap(html, build)
	queue := named(html, build)
	for i := 0; i < len(queue) && i < maxSeen && ctx.Err() == nil; i++ {
		e, err := c.File(ctx, build, queue[i])
		if err != nil {
			continue // a page that runs does not need it
		}
		c.Loaded(build, queue[i])
		if !strings.HasSuffix(queue[i], "js") {
			continue
		}
		text, err := e.Body()
		if err != nil {
			return true, err
		}
		for _, f := range imported(text, queue[i], imports) {
			if !slices.Contains(queue, f) {
				queue = append(queue, f)
			}
		}
	}
	return true, ctx.Err()
}

var (
	attribute  = regexp.MustCompile(`(?:src|href)="\.` + Prefix + `([0-9a-f]+)/([^"]+)"`)
	mapping    = regexp.MustCompile(`"([^"]+)":\s*"\.` + Prefix + `([0-9a-f]+)/([^"]+)"`)
	importing  = regexp.MustCompile(`(?:\bfrom|\bimport)\s*["'` + "`" + `]([^"'` + "`" + `\s]{1,200})["'` + "`" + `]`)
	bareModule = regexp.MustCompile(`^[@a-z]`)
)

// named lists the files that the page itself names.
func named(html []byte, build string) (files []string) {
	for _, m := range attribute.FindAllSubmatch(html, -1) {
		if string(m[1]) == build {
			files = append(files, string(m[2]))
		}
	}
	return files
}

// importMap reads the page's import map: bare name → file.
func importMap(html []byte, build string) map[string]string {
	all := make(map[string]string)
	for _, m := range mapping.FindAllSubmatch(html, -1) {
		if string(m[2]) == build {
			all[string(m[1])] = string(m[3])
		}
	}
	return all
}

// imported lists the files that a script imports before it runs.
func imported(script []byte, file string, imports map[string]string) (files []string) {
	for _, m := range importing.FindAllSubmatch(script, -1) {
		name := string(m[1])
		switch {
		case strings.HasPrefix(name, "./"), strings.HasPrefix(name, "../"):
			files = append(files, path.Join(path.Dir(file), name))
		case bareModule.MatchString(name) && imports[name] != "":
			files = append(files, imports[name])
		}
	}
	return files
}
