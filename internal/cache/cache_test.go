package cache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"
)

// fake is a ComfyUI whose files can be changed.
type fake struct {
	mu         sync.Mutex
	files      map[string]string
	headers    map[string]http.Header
	status     map[string]int
	generation atomic.Uint64
	asked      atomic.Int64
	sent       atomic.Int64 // whole bodies
	down       atomic.Bool
	cut        atomic.Bool
}

func newFake() *fake {
	return &fake{files: make(map[string]string), headers: make(map[string]http.Header), status: make(map[string]int)}
}

func (f *fake) put(target, body string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files[target] = body
}

func (f *fake) Generation() uint64 { return f.generation.Load() }

func (f *fake) RoundTrip(r *http.Request) (*http.Response, error) {
	f.asked.Add(1)
	if f.down.Load() {
		return nil, errors.New("ComfyUI cannot be reached")
	}
	w := httptest.NewRecorder()
	f.answer(w, r)
	res := w.Result()
	if f.cut.Load() {
		res.Body = io.NopCloser(io.MultiReader(io.LimitReader(res.Body, 3), broken{}))
	}
	return res, nil
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func (f *fake) answer(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	target := r.URL.RequestURI()
	body, ok := f.files[target]
	if !ok {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	tag := fmt.Sprintf(`"%x"`, sha256.Sum256([]byte(body)))
	w.Header().Set("Content-Type", "text/javascript")
	for k, v := range f.headers[target] {
		w.Header()[k] = v
	}
	if w.Header().Get("Etag") == "" {
		w.Header().Set("Etag", tag)
	}
	if r.Header.Get("If-None-Match") == w.Header().Get("Etag") && f.status[target] == 0 {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if s := f.status[target]; s != 0 {
		w.WriteHeader(s)
	}
	f.sent.Add(1)
	io.WriteString(w, body)
}

func newCache(f *fake) *Cache {
	return New(Options{Upstream: f, MaxBytes: 1 << 20, Log: slog.New(slog.DiscardHandler)})
}

func body(t testing.TB, c *Cache, target string, kind Kind) string {
	t.Helper()
	e, err := c.Get(context.Background(), target, kind)
	if err != nil {
		t.Fatal(err)
	}
	b, err := e.Body()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestComfyUIIsAskedOnceAndThenEveryFewSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		c := newCache(f)
		f.put("/a.js", "one")
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { body(t, c, "/a.js", Checked) })
		}
		wg.Wait()
		if n := f.asked.Load(); n != 1 {
			t.Errorf("fifty at once asked ComfyUI %d times", n)
		}
		f.put("/a.js", "two")
		time.Sleep(checkAfter + time.Millisecond)
		if got := body(t, c, "/a.js", Checked); got != "two" {
			t.Errorf("got %q after the check, want two", got)
		}
		sent := f.sent.Load()
		time.Sleep(checkAfter + time.Millisecond)
		body(t, c, "/a.js", Checked)
		if f.sent.Load() != sent {
			t.Error("an unchanged file was sent again, not answered 304")
		}
	})
}

func TestARestartOfComfyUIIsNoticedAtOnce(t *testing.T) {
	f := newFake()
	c := newCache(f)
	f.put("/object_info", "one")
	body(t, c, "/object_info", Renewed)
	f.put("/object_info", "two")
	f.generation.Add(1)
	if got := body(t, c, "/object_info", Renewed); got != "two" {
		t.Errorf("got %q, want two", got)
	}
	f.put("/object_info", "three")
	c.Drop("/object_info")
	if got := body(t, c, "/object_info", Renewed); got != "three" {
		t.Errorf("got %q after Drop, want three", got)
	}
}

func TestACostlyAnswerIsRenewedBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		c := newCache(f)
		f.put("/object_info", "one")
		body(t, c, "/object_info", Renewed)
		f.put("/object_info", "two")
		time.Sleep(renewAfter + time.Millisecond)
		if got := body(t, c, "/object_info", Renewed); got != "one" {
			t.Errorf("got %q, want one at once", got)
		}
		synctest.Wait()
		if got := body(t, c, "/object_info", Renewed); got != "two" {
			t.Errorf("got %q, want two from behind", got)
		}
	})
}

func TestWhatIsNotForEverybodyIsNotKept(t *testing.T) {
	for name, change := range map[string]func(*fake){
		"an error":          func(f *fake) { f.status["/x"] = 500 },
		"no content":        func(f *fake) { f.status["/x"] = 206 },
		"a cookie":          func(f *fake) { f.headers["/x"] = http.Header{"Set-Cookie": {"a=b"}} },
		"another Vary":      func(f *fake) { f.headers["/x"] = http.Header{"Vary": {"Cookie"}} },
		"encoded already":   func(f *fake) { f.headers["/x"] = http.Header{"Content-Encoding": {"br"}} },
		"too large":         func(f *fake) { f.files["/x"] = strings.Repeat("x", 1<<19) },
		"a 304 out of turn": func(f *fake) { f.status["/x"] = 304 },
		"not there":         func(f *fake) { delete(f.files, "/x") },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			c := newCache(f)
			f.put("/x", "body")
			change(f)
			if _, err := c.Get(t.Context(), "/x", Checked); !errors.Is(err, ErrNotKept) {
				t.Errorf("got %v, want ErrNotKept", err)
			}
		})
	}
	t.Run("a body that breaks off", func(t *testing.T) {
		f := newFake()
		c := newCache(f)
		f.put("/x", "whole body")
		f.cut.Store(true)
		if _, err := c.Get(t.Context(), "/x", Checked); err == nil {
			t.Error("a cut body was kept")
		}
		f.cut.Store(false)
		if got := body(t, c, "/x", Checked); got != "whole body" {
			t.Errorf("got %q", got)
		}
	})
}

func TestWhoLeavesDoesNotSpoilItForOthers(t *testing.T) {
	f := newFake()
	c := newCache(f)
	f.put("/x", "body")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	c.Get(gone, "/x", Checked)
	if got := body(t, c, "/x", Checked); got != "body" {
		t.Errorf("got %q", got)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	f := newFake()
	c := newCache(f)
	noise := make([]byte, 100_000)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 100 {
		for j := range noise {
			noise[j] = byte(r.Uint32())
		}
		f.put(fmt.Sprintf("/%d", i), string(noise))
		body(t, c, fmt.Sprintf("/%d", i), Checked)
	}
	if c.bytes > c.opts.MaxBytes || len(c.entries) == 0 {
		t.Errorf("%d bytes in %d entries are kept, of at most %d", c.bytes, len(c.entries), c.opts.MaxBytes)
	}
}

func TestAcceptEncodingIsReadAsItIsMeant(t *testing.T) {
	for _, c := range []struct {
		header     string
		zstd, gzip bool
	}{
		{"", false, false}, {"gzip", false, true}, {"gzip, deflate, br, zstd", true, true}, {"zstd;q=0, gzip", false, true},
		{"*", true, true}, {"*;q=0", false, false}, {"gzip;q=0.5", false, true}, {"identity", false, false}, {"GZIP", false, true}, {"gzip;q=x", false, false},
	} {
		if z, g := accepts(c.header, "zstd"), accepts(c.header, "gzip"); z != c.zstd || g != c.gzip {
			t.Errorf("%q: zstd %v gzip %v, want %v %v", c.header, z, g, c.zstd, c.gzip)
		}
	}
}

// TestAnswersThroughTheCacheAreComfyUIs compares every answer with a direct
// one, over random sequences of requests, updates, restarts and faults.
func TestAnswersThroughTheCacheAreComfyUIs(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := newFake()
		c := newCache(f)
		targets := []string{"/a", "/b?x=1", "/c"}
		rt.Repeat(map[string]func(*rapid.T){
			"update": func(rt *rapid.T) {
				f.put(rapid.SampledFrom(targets).Draw(rt, "target"), strings.Repeat(rapid.String().Draw(rt, "text"), rapid.SampledFrom([]int{1, 100, 200_000}).Draw(rt, "times")))
				f.generation.Add(1) // what was kept must be checked
			},
			"fault": func(rt *rapid.T) {
				f.status[rapid.SampledFrom(targets).Draw(rt, "target")] = rapid.SampledFrom([]int{0, 404, 500, 204}).Draw(rt, "status")
				f.generation.Add(1)
			},
			"down": func(rt *rapid.T) { f.down.Store(rapid.Bool().Draw(rt, "down")); f.generation.Add(1) },
			"cut":  func(rt *rapid.T) { f.cut.Store(rapid.Bool().Draw(rt, "cut")); f.generation.Add(1) },
			"drop": func(rt *rapid.T) { c.Drop(rapid.SampledFrom(targets).Draw(rt, "target")) },
			"ask": func(rt *rapid.T) {
				target := rapid.SampledFrom(targets).Draw(rt, "target")
				e, err := c.Get(context.Background(), target, rapid.SampledFrom([]Kind{Checked, Renewed}).Draw(rt, "kind"))
				if err != nil {
					return // then it is passed through
				}
				compare(rt, f, e, target, rapid.SampledFrom([]string{"", "gzip", "zstd, gzip"}).Draw(rt, "accept"))
			},
		})
	})
}

func compare(t *rapid.T, f *fake, e *Entry, target, accept string) {
	direct := httptest.NewRecorder()
	f.answer(direct, httptest.NewRequest("GET", target, nil))
	r := httptest.NewRequest("GET", target, nil)
	r.Header.Set("Accept-Encoding", accept)
	w := httptest.NewRecorder()
	if err := e.Serve(w, r, Private); err != nil {
		t.Fatal(err)
	}
	got := w.Body.Bytes()
	switch w.Header().Get("Content-Encoding") {
	case "gzip":
		got, _ = gunzip(got)
	case "zstd":
		d, _ := zstd.NewReader(nil)
		got, _ = d.DecodeAll(got, nil)
	}
	if direct.Code != w.Code || !bytes.Equal(got, direct.Body.Bytes()) || w.Header().Get("Content-Type") != direct.Header().Get("Content-Type") {
		t.Fatalf("%s through the cache is %d %q %.40q, direct %d %q %.40q", target, w.Code, w.Header().Get("Content-Type"), got, direct.Code, direct.Header().Get("Content-Type"), direct.Body)
	}
	r.Header.Set("If-None-Match", w.Header().Get("Etag"))
	again := httptest.NewRecorder()
	e.Serve(again, r, Private)
	if again.Code != http.StatusNotModified || again.Body.Len() != 0 {
		t.Fatalf("asked again with its tag: %d, %d bytes", again.Code, again.Body.Len())
	}
}
