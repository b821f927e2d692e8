package cache

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Expect says that somebody is about to load the page: Run warms the cache.
func (c *Cache) Expect() {
	select {
	case c.expected <- struct{}{}:
	default: // it is said already
	}
}

// Run warms the cache when a page load is expected, and packs what it holds more
// tightly when the load is over, until ctx ends.
func (c *Cache) Run(ctx context.Context) error {
	var over <-chan time.Time
	for {
		did := false
		select {
		case <-ctx.Done():
			return nil
		case <-over:
			did = c.tighten(ctx)
		case <-c.expected:
			var err error
			if did, err = c.Warm(ctx); err != nil && ctx.Err() == nil {
				c.opts.Log.Debug("ComfyUI's page could not be fetched ahead", "err", err)
			}
			over = time.After(loadTime)
		}
		if did {
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

// tighten compresses the frontend's files once more, as well as can be: a tenth
// less for the line. It takes seconds of a processor, and 40 MB while it lasts,
// which is why nobody's load waits for it. It tells whether it did anything.
func (c *Cache) tighten(ctx context.Context) (did bool) {
	loose := c.loose()
	if len(loose) == 0 {
		return false
	}
	best, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window))
	if err != nil {
		panic(err) // the options are constants
	}
	defer best.Close()
	for target, e := range loose {
		if ctx.Err() != nil {
			break
		}
		plain, err := e.bodies.decoded()
		if err != nil {
			continue // who asks for it is told
		}
		b := e.bodies
		b.tight = true
		if packed := best.EncodeAll(plain, nil); len(packed) < len(b.zstd) {
			b.zstd = bytes.Clone(packed)
		}
		c.replace(target, e, b)
	}
	return true
}

// loose gives the frontend's files that were compressed in haste only.
func (c *Cache) loose() map[string]*Entry {
	c.mu.RLock()
	defer c.mu.RUnlock()
	found := make(map[string]*Entry)
	for target, e := range c.entries {
		if strings.HasPrefix(target, Prefix) && e.bodies.zstd != nil && !e.bodies.tight {
			found[target] = e
		}
	}
	return found
}

// replace keeps an entry's answer with other bodies, if it is still the one that
// is kept.
func (c *Cache) replace(target string, old *Entry, b bodies) {
	e := &Entry{Header: old.Header, bodies: b, tag: old.tag, source: old.source, since: old.since}
	e.generation.Store(old.generation.Load())
	e.checked.Store(old.checked.Load())
	e.used.Store(old.used.Load())
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries[target] == old {
		c.bytes += e.bodies.size() - old.bodies.size()
		c.entries[target] = e
	}
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
