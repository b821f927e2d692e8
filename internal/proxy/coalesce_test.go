package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"comfylatch/internal/comfy"
)

// slowComfy answers each request after a second with its number.
type slowComfy struct {
	asked  atomic.Int32
	answer func(n int32, r *http.Request) (*http.Response, error) // nil: the number
}

func (s *slowComfy) send(r *http.Request) (*http.Response, error) {
	n := s.asked.Add(1)
	select {
	case <-time.After(time.Second):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if s.answer != nil {
		return s.answer(n, r)
	}
	return textAnswer(fmt.Sprint(n)), nil
}

func textAnswer(text string) *http.Response {
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/plain"}}, ContentLength: int64(len(text)), Body: io.NopCloser(strings.NewReader(text))}
}

func asks(ctx context.Context, path string, header http.Header) *http.Request {
	if header == nil {
		header = http.Header{}
	}
	return (&http.Request{Method: "GET", URL: &url.URL{Opaque: path}, Header: header}).WithContext(ctx)
}

// told is what somebody was answered: a body, or an error in brackets.
func (c *coalescer) told(r *http.Request) string {
	res, err := c.RoundTrip(r)
	if err != nil {
		return "(" + err.Error() + ")"
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return string(body) + "(" + err.Error() + ")"
	}
	return string(body)
}

func TestWhoWaitsAtOnceSharesTheNextAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		comfyUI := &slowComfy{}
		c := newCoalescer(comfyUI.send)
		var wg sync.WaitGroup
		var got [6]string
		for i := range got {
			wg.Go(func() { got[i] = c.told(asks(t.Context(), "/queue", nil)) })
			synctest.Wait() // the first asks before the others come
		}
		wg.Wait()
		if want := [6]string{"1", "2", "2", "2", "2", "2"}; got != want {
			t.Errorf("got %v, want %v", got, want)
		}
		if n := c.held.Load(); n != 0 {
			t.Errorf("%d bytes are held by nobody", n)
		}
		for i := range c.shards {
			if len(c.shards[i].asks) > 0 {
				t.Errorf("left behind: %v", c.shards[i].asks)
			}
		}
	})
}

func TestOnlyTheSameRequestIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		comfyUI := &slowComfy{answer: func(_ int32, r *http.Request) (*http.Response, error) { return textAnswer(sameness(r)), nil }}
		c := newCoalescer(comfyUI.send)
		each := []*http.Request{
			asks(t.Context(), "/queue", nil),
			asks(t.Context(), "/queue?", nil),
			asks(t.Context(), "/queue", http.Header{"Cookie": {"a=1"}}),
			asks(t.Context(), "/queue", http.Header{"Cookie": {"a=2"}}),
			asks(t.Context(), "/queue", http.Header{"Accept": {"a", "b"}}),
			asks(t.Context(), "/queue", http.Header{"Accept": {"a"}, "Range": {"b"}}),
			asks(t.Context(), "/history", nil),
		}
		each[1].URL = &url.URL{Opaque: "/queue", RawQuery: "x"}
		var wg sync.WaitGroup
		for range 3 {
			for _, r := range each {
				wg.Go(func() {
					if got := c.told(r); got != sameness(r) {
						t.Errorf("who asked %q got the answer to %q", sameness(r), got)
					}
				})
			}
		}
		wg.Wait()
		if n, want := comfyUI.asked.Load(), int32(2*len(each)); n != want {
			t.Errorf("ComfyUI was asked %d times, want %d", n, want)
		}
	})
}

func TestWhoLeavesTakesNobodyAlong(t *testing.T) {
	for _, when := range []time.Duration{500 * time.Millisecond, 1500 * time.Millisecond} { // while it waits; while it asks
		synctest.Test(t, func(t *testing.T) {
			comfyUI := &slowComfy{}
			c := newCoalescer(comfyUI.send)
			ctx, leave := context.WithTimeout(t.Context(), when)
			defer leave()
			var wg sync.WaitGroup
			var got [4]string
			for i := range got {
				who := t.Context()
				if i == 1 { // who sends the second request
					who = ctx
				}
				wg.Go(func() { got[i] = c.told(asks(who, "/queue", nil)) })
				synctest.Wait()
			}
			wg.Wait()
			if got[1] != "(context deadline exceeded)" || got[0] != "1" || strings.Contains(got[2]+got[3], "(") {
				t.Errorf("after %v: %q", when, got)
			}
		})
	}
}

func TestWhatIsNotShared(t *testing.T) {
	large := strings.Repeat("x", maxShared+1)
	for name, answer := range map[string]func(int32) *http.Response{
		"a cookie": func(n int32) *http.Response {
			r := textAnswer(fmt.Sprint(n))
			r.Header["Set-Cookie"] = []string{"a=b"}
			return r
		},
		"a large body": func(n int32) *http.Response { return textAnswer(fmt.Sprint(n) + large) },
		"a large body of unknown length": func(n int32) *http.Response {
			r := textAnswer(fmt.Sprint(n) + large)
			r.ContentLength = -1
			return r
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			comfyUI := &slowComfy{answer: func(n int32, _ *http.Request) (*http.Response, error) { return answer(n), nil }}
			c := newCoalescer(comfyUI.send)
			var wg sync.WaitGroup
			var mu sync.Mutex
			seen := map[byte]bool{}
			for range 4 {
				wg.Go(func() {
					got := c.told(asks(t.Context(), "/history", nil))
					mu.Lock()
					defer mu.Unlock()
					if seen[got[0]] || len(got) > 1 && len(got) != len(large)+1 {
						t.Errorf("%s: two have the same answer, or it is not whole (%d bytes)", name, len(got))
					}
					seen[got[0]] = true
				})
			}
			wg.Wait()
			if n := c.held.Load(); n != 0 {
				t.Errorf("%s: %d bytes are held by nobody", name, n)
			}
		})
	}
}

func TestAFaultIsEverybodys(t *testing.T) {
	fault := errors.New("cut off")
	for name, one := range map[string]struct {
		answer func() (*http.Response, error)
		want   string
	}{
		"no answer": {func() (*http.Response, error) { return nil, fault }, "(cut off)"},
		"a body that breaks off": {func() (*http.Response, error) {
			r := textAnswer("half")
			r.ContentLength, r.Body = 8, io.NopCloser(io.MultiReader(strings.NewReader("half"), brokenReader{fault}))
			return r, nil
		}, "half(cut off)"},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newCoalescer((&slowComfy{answer: func(int32, *http.Request) (*http.Response, error) { return one.answer() }}).send)
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					if got := c.told(asks(t.Context(), "/queue", nil)); got != one.want {
						t.Errorf("%s: got %q, want %q", name, got, one.want)
					}
				})
			}
			wg.Wait()
		})
	}
	t.Run("written at once", func(t *testing.T) {
		b := &sharedBody{Reader: *bytes.NewReader([]byte("half")), end: fault}
		var to bytes.Buffer
		if n, err := b.WriteTo(&to); n != 4 || err != fault || to.String() != "half" {
			t.Errorf("WriteTo = %d, %v, %q", n, err, &to)
		}
	})
}

type brokenReader struct{ err error }

func (b brokenReader) Read([]byte) (int, error) { return 0, b.err }

// What one has changed one finds changed, however many ask at once, and
// although some go away.
func TestNobodyIsToldWhatWasBeforeTheyAsked(t *testing.T) {
	var state atomic.Int64
	var asked atomic.Int64
	c := newCoalescer(func(r *http.Request) (*http.Response, error) {
		asked.Add(1)
		n := state.Load()
		select {
		case <-time.After(time.Duration(rand.IntN(300)) * time.Microsecond):
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
		return textAnswer(fmt.Sprint(n)), nil
	})
	var wg sync.WaitGroup
	var answered atomic.Int64
	for range 16 {
		wg.Go(func() {
			for range 200 {
				mine := state.Add(1)
				ctx, cancel := t.Context(), context.CancelFunc(func() {})
				if rand.IntN(4) == 0 {
					ctx, cancel = context.WithTimeout(ctx, time.Duration(rand.IntN(200))*time.Microsecond)
				}
				told := c.told(asks(ctx, "/queue", nil))
				cancel()
				var n int64
				if _, err := fmt.Sscan(told, &n); err != nil {
					if ctx.Err() == nil {
						t.Errorf("who stayed was told %q", told)
					}
					continue
				}
				answered.Add(1)
				if n < mine {
					t.Errorf("told %d after having made it %d", n, mine)
				}
			}
		})
	}
	wg.Wait()
	if asked.Load() >= answered.Load() {
		t.Errorf("%d requests for %d answers: nothing was shared", asked.Load(), answered.Load())
	}
	if c.held.Load() != 0 {
		t.Errorf("%d bytes are held by nobody", c.held.Load())
	}
}

func TestOnlyReadsOfTheTableAreShared(t *testing.T) {
	for i := range comfy.Table {
		if r := &comfy.Table[i]; r.Together && (r.Methods != "GET" || r.Keep != comfy.KeepNot || r.Least == comfy.Public) {
			t.Errorf("%s %s is shared", r.Methods, r.Pattern)
		}
	}
}
