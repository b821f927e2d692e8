// Package cache keeps what ComfyUI serves alike to everybody, compressed once,
// so that ComfyUI is asked once and browsers get little.
//
// It knows nothing of visitors. Who may have an answer is decided before; what
// differs from person to person never comes here, and neither do errors,
// ranges, or anything with Set-Cookie or a Vary of its own.
//
// The rule that must hold: an answer from here is one that ComfyUI gave for
// this very target, whole, and not longer ago than its kind allows.
package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

// Kind says how long an answer holds.
type Kind uint8

const (
	// Checked answers are compared with ComfyUI's every few seconds (ETag).
	Checked Kind = iota
	// Renewed answers are costly to make: one that is some seconds old is
	// given at once and renewed behind it.
	Renewed
)

// Upstream asks ComfyUI; *upstream.Server is one.
type Upstream interface {
	RoundTrip(*http.Request) (*http.Response, error)
	Generation() uint64
}

// Options are what a Cache needs.
type Options struct {
	Upstream Upstream
	MaxBytes int64  // of all bodies, as they are kept; 0 is 128 MB
	Early    []byte // a script that goes into ComfyUI's page, before everything else; may be nil
	Log      *slog.Logger
}

const (
	defaultBytes = 128 << 20
	checkAfter   = 3 * time.Second
	renewAfter   = 10 * time.Second
	askTime      = 2 * time.Minute
	missTime     = 3 * time.Second // how long a target that cannot be kept is not tried again
)

// ErrNotKept says that the answer must be had from ComfyUI itself: it is no
// 200, too large, personal, or changing.
var ErrNotKept = errors.New("not to be kept")

// Cache holds answers. It is safe for concurrent use.
type Cache struct {
	opts   Options
	flight singleflight.Group

	mu      sync.RWMutex
	entries map[string]*Entry
	misses  map[string]time.Time
	bytes   int64

	front    frontEnd
	expected chan struct{}
}

// Entry is one answer, as it is kept. It does not change once it is shared,
// but for the atomics.
type Entry struct {
	Header http.Header // of ComfyUI's, those that matter
	bodies bodies
	tag    string // fingerprint of the identity body
	source string // ComfyUI's ETag
	since  string // ComfyUI's Last-Modified

	generation atomic.Uint64 // of ComfyUI, when it was last seen to hold
	checked    atomic.Int64  // unix nanoseconds, when
	used       atomic.Int64
}

// New makes an empty cache. It starts nothing.
func New(o Options) *Cache {
	if o.MaxBytes <= 0 {
		o.MaxBytes = defaultBytes
	}
	return &Cache{opts: o, entries: make(map[string]*Entry), misses: make(map[string]time.Time), expected: make(chan struct{}, 1)}
}

// Get gives the answer to GET target, asking ComfyUI where it must: once for
// all who want it meanwhile. Errors: ErrNotKept, or ComfyUI's.
func (c *Cache) Get(ctx context.Context, target string, kind Kind) (*Entry, error) {
	e := c.lookup(target)
	if e != nil && e.generation.Load() == c.opts.Upstream.Generation() {
		age := time.Since(time.Unix(0, e.checked.Load()))
		switch {
		case age < checkAfter, kind == Renewed && age < renewAfter:
			return e, nil
		case kind == Renewed:
			go c.renew(target) // owned by the flight; bounded by askTime
			return e, nil
		}
	}
	if e == nil && c.missed(target) {
		return nil, ErrNotKept
	}
	return c.ask(ctx, target)
}

// Drop forgets a target, so that the next who wants it gets a new answer.
func (c *Cache) Drop(target string) {
	c.flight.Forget(target)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(target)
	delete(c.misses, target)
}

func (c *Cache) renew(target string) {
	if _, err := c.ask(context.Background(), target); err != nil && !errors.Is(err, ErrNotKept) {
		c.opts.Log.Debug("an answer could not be renewed", "target", target, "err", err)
	}
}

func (c *Cache) lookup(target string) *Entry {
	c.mu.RLock()
	defer c.mu.RUnlock()
	e := c.entries[target]
	if e != nil {
		e.used.Store(time.Now().UnixNano())
	}
	return e
}

func (c *Cache) missed(target string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return time.Since(c.misses[target]) < missTime
}

// ask fetches or revalidates. It goes on when the one who asked has left:
// others wait for the same answer.
func (c *Cache) ask(ctx context.Context, target string) (*Entry, error) {
	result := c.flight.DoChan(target, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.Background(), askTime)
		defer cancel()
		return c.fetch(ctx, target)
	})
	select {
	case r := <-result:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*Entry), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *Cache) fetch(ctx context.Context, target string) (*Entry, error) {
	old := c.lookup(target)
	generation := c.opts.Upstream.Generation()
	res, err := c.request(ctx, target, old)
	if err != nil {
		return nil, fmt.Errorf("ask ComfyUI for %s: %w", target, err)
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusNotModified && old != nil {
		old.holds(generation)
		return old, nil
	}
	if !keepable(res) || res.ContentLength > c.most() {
		c.miss(target)
		return nil, ErrNotKept
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, c.most()+1))
	if err != nil {
		return nil, fmt.Errorf("read ComfyUI's %s: %w", target, err)
	}
	if int64(len(body)) > c.most() {
		c.miss(target)
		return nil, ErrNotKept
	}
	e := newEntry(res.Header, body)
	e.holds(generation)
	if old != nil && old.tag == e.tag {
		e.bodies = old.bodies // compressed already
	} else {
		e.bodies.compress(compressible(e.Header.Get("Content-Type")))
	}
	c.keep(target, e)
	return e, nil
}

func (c *Cache) request(ctx context.Context, target string, old *Entry) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://comfyui"+target, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept-Encoding", "identity")
	r.Header.Set("User-Agent", "comfylatch")
	if old != nil && old.source != "" {
		r.Header.Set("If-None-Match", old.source)
	}
	if old != nil && old.since != "" {
		r.Header.Set("If-Modified-Since", old.since)
	}
	return c.opts.Upstream.RoundTrip(r)
}

// keepable tells an answer that is the same for everybody.
func keepable(res *http.Response) bool {
	h := res.Header
	vary := strings.ToLower(h.Get("Vary"))
	return res.StatusCode == http.StatusOK && len(h.Values("Set-Cookie")) == 0 && h.Get("Content-Encoding") == "" && h.Get("Content-Range") == "" &&
		(vary == "" || vary == "accept-encoding") && len(res.Trailer) == 0
}

func newEntry(from http.Header, body []byte) *Entry {
	sum := sha256.Sum256(body)
	e := &Entry{Header: make(http.Header, 4), tag: hex.EncodeToString(sum[:10]), source: from.Get("Etag"), since: from.Get("Last-Modified")}
	for _, h := range []string{"Content-Type", "Content-Disposition", "Content-Language", "Last-Modified"} {
		if v := from.Get(h); v != "" {
			e.Header.Set(h, v)
		}
	}
	e.bodies.identity = body
	return e
}

// holds notes that ComfyUI of this generation gives the same answer now.
func (e *Entry) holds(generation uint64) {
	e.generation.Store(generation)
	e.checked.Store(time.Now().UnixNano())
	e.used.Store(time.Now().UnixNano())
}

// most is how large one body may be: a few must fit.
func (c *Cache) most() int64 { return c.opts.MaxBytes / 4 }

func (c *Cache) miss(target string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(target)
	if len(c.misses) >= 1000 { // bounded: targets are visitors' text
		clear(c.misses)
	}
	c.misses[target] = time.Now()
}

// keep stores an entry, and lets go of those that were not used for longest.
func (c *Cache) keep(target string, e *Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(target)
	delete(c.misses, target)
	for c.bytes+e.bodies.size() > c.opts.MaxBytes && len(c.entries) > 0 {
		oldest, at := "", int64(0)
		for t, e := range c.entries {
			if u := e.used.Load(); oldest == "" || u < at {
				oldest, at = t, u
			}
		}
		c.remove(oldest)
	}
	c.entries[target] = e
	c.bytes += e.bodies.size()
}

func (c *Cache) remove(target string) {
	if e := c.entries[target]; e != nil {
		c.bytes -= e.bodies.size()
		delete(c.entries, target)
	}
}
