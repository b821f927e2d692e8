package proxy

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"comfylatch/internal/account"
)

// trap is a ComfyUI that forgets a client id when any socket with it ends, as
// the real one does (server.py, websocket_handler).
type trap struct {
	mu      sync.Mutex
	sockets map[string]*wire
	overlap int // handshakes while an older socket with the id was alive
}

func (c *trap) handle(w *wire, r *http.Request) {
	id := r.URL.Query().Get("clientId")
	c.mu.Lock()
	if c.sockets[id] != nil {
		c.overlap++
	}
	c.sockets[id] = w
	c.mu.Unlock()
	for {
		f, err := w.read()
		if err != nil || f.op == opClose {
			// What it does before its end is seen takes a moment.
			time.Sleep(20 * time.Millisecond)
			c.mu.Lock()
			delete(c.sockets, id)
			c.mu.Unlock()
			w.answerClose(f)
			return
		}
	}
}

// overlaps counts the handshakes that came too early.
func (c *trap) overlaps() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.overlap
}

func (c *trap) send(id, text string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.sockets[id]
	return w != nil && w.send(opText, text) == nil
}

func TestOldSocketOfAClientIDEndsBeforeTheNewOneBegins(t *testing.T) {
	c := &trap{sockets: map[string]*wire{}}
	g := newGate(t, socketComfy(t, c.handle), Options{})
	var w *wire
	for i := range 5 {
		next := g.open(t, "/ws?clientId=a", "")
		if w != nil {
			wantClose(t, w, closePolicy)
		}
		w = next
		text := fmt.Sprint("event ", i)
		eventually(t, "the new socket is known", func() bool { return c.send("a", text) })
		if f := w.next(t); f.payload != text {
			t.Errorf("got %v", f)
		}
	}
	if n := c.overlaps(); n > 0 {
		t.Errorf("%d handshakes came while the old socket was alive", n)
	}
}

func TestManyAtOnceWithOneClientID(t *testing.T) {
	c := &trap{sockets: map[string]*wire{}}
	g := newGate(t, socketComfy(t, c.handle), Options{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { g.try(t, "/ws?clientId=a", "", nil) })
	}
	wg.Wait()
	eventually(t, "one is left", func() bool { return len(g.Open()) == 1 })
	if n := c.overlaps(); n > 0 {
		t.Errorf("%d handshakes came while an old socket was alive", n)
	}
	eventually(t, "the one that is left is known to ComfyUI", func() bool { return c.send("a", "hello") })
}

func TestOldSocketThatDoesNotEndIsNotWaitedForForEver(t *testing.T) {
	g := newGate(t, socketComfy(t, func(w *wire, _ *http.Request) {
		for { // never answers a close
			if _, err := w.read(); err != nil {
				return
			}
		}
	}), Options{Times: Times{Close: 20 * time.Millisecond}})
	old := g.open(t, "/ws?clientId=a", "")
	g.open(t, "/ws?clientId=a", "")
	wantClose(t, old, closePolicy)
}

func TestT21SocketTakeOver(t *testing.T) {
	f := socketComfy(t, func(w *wire, _ *http.Request) { w.drain() })
	g := newGate(t, f, Options{})
	ann := g.socket(t, "/ws?clientId=anns", "ann")
	for name, target := range map[string]string{"T21 plain": "/ws?clientId=anns", "T21 twin": "/api/ws?clientId=anns", "T21 encoded": "/ws?client%49d=ann%73"} {
		t.Run(name, func(t *testing.T) {
			if w, res := g.try(t, target, "X-Test-Who: ben\n", nil); w != nil || res.StatusCode != 403 {
				t.Errorf("got %v", res)
			}
		})
	}
	if n := len(f.seen()); n != 1 {
		t.Errorf("ComfyUI saw %d handshakes", n)
	}
	eventually(t, "ann's is the one that is open", func() bool { o := g.Open(); return len(o) == 1 && o[0].Name == "ann" })
	ann.CloseNow()
	eventually(t, "ann is gone", func() bool { return len(g.Open()) == 0 })
	if w, res := g.try(t, "/ws?clientId=anns", "X-Test-Who: ben\n", nil); w != nil || res.StatusCode != 403 {
		t.Errorf("after she left: %v", res)
	}
	t.Run("T21 an id used in a prompt", func(t *testing.T) {
		if !g.ClientIDs().Bind("of a prompt", "user:ann") || g.ClientIDs().Bind("of a prompt", "user:ben") {
			t.Error("the id is not ann's")
		}
		if w, res := g.try(t, "/ws?clientId=of+a+prompt", "X-Test-Who: ben\n", nil); w != nil || res.StatusCode != 403 {
			t.Errorf("got %v", res)
		}
	})
	t.Run("a very long id", func(t *testing.T) {
		if w, res := g.try(t, "/ws?clientId="+strings.Repeat("x", 300), "", nil); w != nil || res.StatusCode != 403 {
			t.Errorf("got %v", res)
		}
	})
}

func TestSocketsOfAPrincipalAreLimited(t *testing.T) {
	g := newGate(t, socketComfy(t, func(w *wire, _ *http.Request) { w.drain() }), Options{
		MaxSockets: func(p account.Principal) int { return 2 },
	})
	a := g.open(t, "/ws?clientId=1", "")
	g.open(t, "/ws?clientId=2", "")
	if w, res := g.try(t, "/ws?clientId=3", "", nil); w != nil || res.StatusCode != 429 || res.Header.Get("Retry-After") == "" {
		t.Errorf("the third: %v", res)
	}
	g.open(t, "/ws?clientId=1", "") // takes the place of the first
	wantClose(t, a, closePolicy)
	g.open(t, "/ws?clientId=4", "X-Test-Who: ben\n")
	eventually(t, "three are open", func() bool { return len(g.Open()) == 3 })
}

func TestClientIDs(t *testing.T) {
	t.Run("an id is its first user's for an hour", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := NewClientIDs()
			for range 2 {
				if !c.Bind("x", "ann") || c.Bind("x", "ben") {
					t.Error("the id is not ann's")
				}
			}
			time.Sleep(59 * time.Minute)
			c.Bind("x", "ann")
			time.Sleep(59 * time.Minute)
			if c.Bind("x", "ben") {
				t.Error("ben got it an hour after its first use, not its last")
			}
			time.Sleep(2 * time.Minute)
			if !c.Bind("x", "ben") || c.Bind("x", "ann") {
				t.Error("ben did not get it after an hour")
			}
		})
	})
	t.Run("and while a socket is open", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := NewClientIDs()
			release, ok := c.hold("x", "ann")
			if !ok {
				t.Fatal("not held")
			}
			again, _ := c.hold("x", "ann")
			time.Sleep(25 * time.Hour)
			release()
			release() // counts once
			time.Sleep(2 * time.Hour)
			if c.Bind("x", "ben") {
				t.Error("ben got it while a socket was open")
			}
			again()
			time.Sleep(time.Minute)
			if c.Bind("x", "ben") {
				t.Error("ben got it at once")
			}
			time.Sleep(time.Hour)
			if !c.Bind("x", "ben") {
				t.Error("ben did not get it")
			}
		})
	})
	t.Run("one who uses many loses only their own", func(t *testing.T) {
		c := NewClientIDs()
		c.Bind("ann's", "ann")
		held, _ := c.hold("held", "eve")
		for i := range 10 * idsPerOwner {
			c.Bind(fmt.Sprint("eve's ", i), "eve")
		}
		if c.Bind("ann's", "eve") || c.Bind("held", "ann") {
			t.Error("an id was lost")
		}
		if n := len(c.ids); n != idsPerOwner+2 {
			t.Errorf("%d ids are kept, want %d", n, idsPerOwner+2)
		}
		held()
	})
	t.Run("all together are limited", func(t *testing.T) {
		c := NewClientIDs()
		for i := range idsInAll + 1000 {
			c.Bind(fmt.Sprint(i), fmt.Sprint("owner ", i))
		}
		if len(c.ids) != idsInAll || len(c.idle) != idsInAll || c.order.Len() != idsInAll {
			t.Errorf("%d ids of %d owners are kept", len(c.ids), len(c.idle))
		}
	})
}
