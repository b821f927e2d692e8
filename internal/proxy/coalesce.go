package proxy

import (
	"bytes"
	"hash/maphash"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"comfylatch/internal/comfy"
)

// A coalescer lets reads that would be the same bytes to ComfyUI, and that wait
// at the same time, share one request. Whenever the queue changes, ComfyUI
// tells all of its pages, and each of them asks for the same one or two things
// at once: ComfyUI, which answers one request at a time, makes the answer once.
//
// The rule that must hold: an answer is given only to those who had asked
// before ComfyUI was asked for it. So everybody finds what they themselves
// changed before, as they would without the gate. Who comes while a request is
// under way waits for the next one, and never longer than ComfyUI would have
// let them wait behind it.
//
// Nothing outlives its request: this is no cache.
type coalescer struct {
	send   func(*http.Request) (*http.Response, error)
	seed   maphash.Seed
	shards [16]coalesced // so that there is no lock that all requests share
	held   atomic.Int64  // bytes of answers that are held for several
}

type coalesced struct {
	mu   sync.Mutex
	asks map[string]*ask
}

// ask is one thing that is asked for: the turn under way, and the one after it.
type ask struct {
	next *turn // nil: nobody has come since the one under way was sent
}

// turn is one request to ComfyUI, and those who wait for its answer. The first
// of them sends it.
type turn struct {
	start   chan struct{} // closed when it may be sent; nil: it may be already
	over    chan struct{} // closed when what follows is set; nil: nobody else waits
	members atomic.Int32  // who wait, or read the answer; grows only until it is sent

	outcome outcome
	answer  http.Response // without its Body
	body    []byte
	err     error // why there is no answer, or why its body broke off
}

// outcome is what became of a turn, for those who wait for it.
type outcome uint8

const (
	shared outcome = iota // answer or err is everybody's
	again                 // who sent it is gone: the others take turns anew
	alone                 // the answer is not for sharing: each asks for oneself
)

const (
	maxShared = 8 << 20  // bytes of an answer that several may share
	maxHeld   = 64 << 20 // of all of them at a time
)

func newCoalescer(send func(*http.Request) (*http.Response, error)) *coalescer {
	return &coalescer{send: send, seed: maphash.MakeSeed()}
}

// RoundTrip sends a request without a body, or gives the answer to the same
// one of somebody else's. As with http.RoundTripper the caller closes the
// answer's body. The answer's Header may be others' too: it is only read.
func (c *coalescer) RoundTrip(r *http.Request) (*http.Response, error) {
	key := sameness(r)
	in := &c.shards[maphash.String(c.seed, key)%uint64(len(c.shards))]
	for {
		t, first := in.join(key)
		if first {
			return c.lead(in, key, t, r)
		}
		select {
		case <-t.over:
		case <-r.Context().Done():
			c.left(t)
			return nil, r.Context().Err()
		}
		switch t.outcome {
		case shared:
			return c.response(t, r)
		case alone:
			return c.send(r)
		}
	}
}

// sameness is what a request without a body is to ComfyUI: its target and all
// of its header, credentials and other cookies that pass among it.
func sameness(r *http.Request) string {
	var room [24]string
	names := room[:0]
	size := len(r.Method) + len(r.URL.Opaque) + len(r.URL.RawQuery) + 2
	for name, values := range r.Header {
		names = append(names, name)
		for _, v := range values {
			size += len(name) + len(v) + 2
		}
	}
	slices.Sort(names)
	var b strings.Builder
	b.Grow(size)
	for _, s := range [...]string{r.Method, " ", r.URL.Opaque, "?", r.URL.RawQuery} {
		b.WriteString(s)
	}
	for _, name := range names {
		for _, v := range r.Header[name] {
			b.WriteString("\n") // which no header holds
			b.WriteString(name)
			b.WriteString(":")
			b.WriteString(v)
		}
	}
	return b.String()
}

// join gives the turn to wait for, and whether the caller is to send it.
func (in *coalesced) join(key string) (t *turn, first bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	a := in.asks[key]
	switch {
	case a == nil:
		if in.asks == nil {
			in.asks = make(map[string]*ask)
		}
		in.asks[key] = &ask{}
		t, first = &turn{}, true
	case a.next == nil:
		a.next = &turn{start: make(chan struct{}), over: make(chan struct{})}
		t, first = a.next, true
	default:
		t = a.next
	}
	t.members.Add(1)
	return t, first
}

// lead sends the request of a turn when its time has come.
func (c *coalescer) lead(in *coalesced, key string, t *turn, r *http.Request) (*http.Response, error) {
	if t.start != nil {
		select {
		case <-t.start:
		case <-r.Context().Done():
			in.leave(key, t)
			return nil, r.Context().Err()
		}
	}
	panicked := true
	defer func() {
		if panicked { // nobody waits for ever
			in.sent(key)
			t.end(again)
		}
	}()
	res, err := c.send(r)
	panicked = false
	in.sent(key)
	switch {
	case t.members.Load() == 1:
		t.end(alone)
		return res, err
	case err == nil:
		return c.share(t, r, res)
	case r.Context().Err() != nil:
		t.end(again)
	default:
		t.err = err
		t.end(shared)
	}
	return nil, err
}

// sent lets the next turn begin, and nobody joins the one before any more.
func (in *coalesced) sent(key string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	a := in.asks[key]
	if a.next == nil {
		delete(in.asks, key)
		return
	}
	close(a.next.start)
	a.next = nil
}

// leave is for who was to send a turn and does not wait for it any more.
func (in *coalesced) leave(key string, t *turn) {
	in.mu.Lock()
	a := in.asks[key]
	waiting := a != nil && a.next == t
	if waiting {
		a.next = nil
	}
	in.mu.Unlock()
	if !waiting { // its time had just come
		in.sent(key)
	}
	t.end(again)
}

func (t *turn) end(o outcome) {
	t.outcome = o
	if t.over != nil {
		close(t.over)
	}
}

// share reads an answer for all who wait for it, and gives it to who sent the
// request. One that is large, or that sets a cookie, is theirs alone.
func (c *coalescer) share(t *turn, r *http.Request, res *http.Response) (*http.Response, error) {
	room := res.ContentLength
	if room < 0 {
		room = maxShared // until it is known
	}
	if len(res.Header["Set-Cookie"]) > 0 || room > maxShared {
		t.end(alone)
		return res, nil
	}
	if c.held.Add(room) > maxHeld {
		c.held.Add(-room)
		t.end(alone)
		return res, nil
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxShared+1))
	c.held.Add(int64(len(body)) - room)
	if len(body) > maxShared {
		c.held.Add(-int64(len(body)))
		t.end(alone)
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(body), res.Body), res.Body}
		return res, nil
	}
	res.Body.Close()
	t.body = body
	if err != nil && r.Context().Err() != nil {
		c.left(t)
		t.end(again)
		return nil, err
	}
	t.answer, t.err = *res, err
	t.answer.Body = nil
	t.end(shared)
	return c.response(t, r)
}

// left is said once by each member that is done with a turn.
func (c *coalescer) left(t *turn) {
	if t.members.Add(-1) == 0 {
		c.held.Add(-int64(len(t.body)))
	}
}

// response is the answer for one of those who waited. A body that broke off
// breaks off for each of them.
func (c *coalescer) response(t *turn, r *http.Request) (*http.Response, error) {
	if t.answer.StatusCode == 0 {
		return nil, t.err
	}
	res := t.answer
	res.Request = r
	if res.ContentLength < 0 && t.err == nil {
		res.ContentLength = int64(len(t.body))
	}
	res.Body = &sharedBody{Reader: *bytes.NewReader(t.body), end: t.err, c: c, t: t}
	return &res, nil
}

// sharedBody is a body that is in memory, up to where it ended.
type sharedBody struct {
	bytes.Reader
	end error // nil: it is whole
	c   *coalescer
	t   *turn // nil: closed
}

func (b *sharedBody) Close() error {
	if b.t != nil {
		b.c.left(b.t)
		b.t = nil
	}
	return nil
}

func (b *sharedBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF && b.end != nil {
		err = b.end
	}
	return n, err
}

func (b *sharedBody) WriteTo(w io.Writer) (int64, error) {
	n, err := b.Reader.WriteTo(w)
	if err == nil {
		err = b.end
	}
	return n, err
}

// roundTrip asks ComfyUI, together with others where the route allows it.
func (p *Proxy) roundTrip(r *http.Request, req *comfy.Request) (*http.Response, error) {
	if req.Route != nil && req.Route.Together && r.Method == http.MethodGet && r.Body == nil {
		return p.reads.RoundTrip(r)
	}
	return p.up.RoundTrip(r)
}
