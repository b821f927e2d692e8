package proxy

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"comfylatch/internal/account"

	"github.com/coder/websocket"
)

func TestOurPings(t *testing.T) {
	got := make(chan frame, 1000)
	f := socketComfy(t, func(w *wire, _ *http.Request) {
		for {
			f, err := w.read()
			if err != nil {
				return
			}
			switch f.op {
			case opPing:
				w.send(opPong, f.payload)
			case opClose:
				w.answerClose(f)
				return
			}
			got <- f
		}
	})
	g := newGate(t, f, Options{Times: Times{Ping: 10 * time.Millisecond}})
	w := g.open(t, "/ws", "")
	for range 3 {
		f, err := w.read()
		if err != nil || f.op != opPing || f.masked {
			t.Fatalf("the client got %v, %v; want a ping", f, err)
		}
		w.send(opPong, f.payload)
	}
	w.send(opPong, "of its own accord")
	w.send(opPing, "the client's")
	for {
		f, err := w.read()
		if err != nil {
			t.Fatal(err)
		}
		if f.op == opPong {
			if f.payload != "the client's" {
				t.Errorf("the client got a pong to a ping of ours: %v", f)
			}
			break
		}
		w.send(opPong, f.payload)
	}
	pings, seen := 0, ""
	for !strings.Contains(seen, "the client's") {
		f := <-got
		switch {
		case f.op == opPing && f.payload != "the client's":
			pings++
		default:
			seen += f.payload + "|"
		}
	}
	if seen != "of its own accord|the client's|" || pings == 0 {
		t.Errorf("ComfyUI got %q and %d pings", seen, pings)
	}
}

func TestPingsDoNotBreakIntoFrames(t *testing.T) {
	goOn := make(chan bool)
	payload := strings.Repeat("0123456789", 1000)
	f := socketComfy(t, func(w *wire, _ *http.Request) {
		whole := w.frame(true, opBinary, payload)
		w.Write(whole[:4000])
		<-goOn
		w.Write(whole[4000:])
		w.drain()
	})
	g := newGate(t, f, Options{Times: Times{Ping: time.Millisecond}})
	w := g.open(t, "/ws", "")
	for {
		if b, err := w.br.Peek(2); err != nil {
			t.Fatal(err)
		} else if b[0] == 0x82 {
			break
		}
		w.read() // a ping before the frame
	}
	time.Sleep(50 * time.Millisecond) // many pings' time
	close(goOn)
	if f, err := w.read(); err != nil || f.payload != payload {
		t.Errorf("got %v, %v", f, err)
	}
	if f, err := w.read(); err != nil || f.op != opPing {
		t.Errorf("got %v, %v; want pings to go on", f, err)
	}
}

func TestClientThatSaysNothingIsClosed(t *testing.T) {
	g := newGate(t, socketComfy(t, func(w *wire, _ *http.Request) { w.drain() }),
		Options{Times: Times{Ping: 10 * time.Millisecond, Silence: 60 * time.Millisecond}})
	w := g.open(t, "/ws", "")
	wantClose(t, w, closeGoingAway)
}

func TestClientThatAnswersPingsStays(t *testing.T) {
	release := make(chan bool)
	g := newGate(t, socketComfy(t, func(w *wire, _ *http.Request) {
		<-release
		w.send(opText, "still here")
		w.drain()
	}), Options{Times: Times{Ping: 50 * time.Millisecond, Silence: 3 * time.Second}})
	w := g.open(t, "/ws", "")
	go func() {
		time.Sleep(4 * time.Second)
		close(release)
	}()
	for {
		f, err := w.read()
		if err != nil {
			t.Fatal(err)
		}
		if f.op == opText {
			return
		}
		w.send(opPong, f.payload)
	}
}

func TestSlowReaderIsEndedAndOthersAreNot(t *testing.T) {
	ended := make(chan bool)
	f := socketComfy(t, func(w *wire, r *http.Request) {
		if r.URL.Query().Get("clientId") == "quick" {
			echo(w, r)
			return
		}
		defer close(ended)
		big := w.frame(true, opBinary, strings.Repeat("x", 1<<20))
		for {
			if _, err := w.Write(big); err != nil {
				return
			}
		}
	})
	g := newGate(t, f, Options{Times: Times{Write: 200 * time.Millisecond}})
	quick := g.open(t, "/ws?clientId=quick", "")
	slow := g.open(t, "/ws?clientId=slow", "")
	_ = slow // reads nothing
	for waiting := true; waiting; {
		select {
		case <-ended:
			waiting = false
		default:
			quick.send(opText, "hello")
			if f := quick.next(t); f.payload != "hello" {
				t.Fatalf("the quick one got %v", f)
			}
		}
	}
	eventually(t, "only the quick one is left", func() bool {
		o := g.Open()
		return len(o) == 1 && o[0].ClientID == "quick"
	})
}

func TestEndOfARightEndsTheSocket(t *testing.T) {
	var mu sync.Mutex
	ends, released := map[string]func(){}, 0
	g := newGate(t, socketComfy(t, func(w *wire, _ *http.Request) { w.drain() }), Options{
		OnEnd: func(p account.Principal, ended func()) func() {
			mu.Lock()
			defer mu.Unlock()
			ends[p.Name] = ended
			return func() { mu.Lock(); released++; mu.Unlock() }
		},
	})
	ann := g.open(t, "/ws?clientId=a", "X-Test-Who: ann\n")
	ben := g.socket(t, "/ws?clientId=b", "ben")
	eventually(t, "both are watched", func() bool { mu.Lock(); defer mu.Unlock(); return len(ends) == 2 })
	ends["ann"]()
	wantClose(t, ann, closePolicy)
	wantEnd(t, ann)
	eventually(t, "only ben is left", func() bool { o := g.Open(); return len(o) == 1 && o[0].Name == "ben" })
	ben.Close(websocket.StatusNormalClosure, "")
	eventually(t, "both are released", func() bool { mu.Lock(); defer mu.Unlock(); return released == 2 })
}

// A revoked right must end a socket even where a frame is stuck.
func TestEndOfARightEndsABlockedSocket(t *testing.T) {
	ends := make(chan func(), 1)
	gone := make(chan bool)
	g := newGate(t, socketComfy(t, func(w *wire, _ *http.Request) {
		defer close(gone)
		io.Copy(w, zeroFrame())
	}), Options{OnEnd: func(_ account.Principal, ended func()) func() { ends <- ended; return nil }})
	w := g.open(t, "/ws", "")
	if _, err := w.br.Peek(1000); err != nil {
		t.Fatal(err)
	}
	(<-ends)()
	<-gone
}

// zeroFrame is a frame of a gigabyte.
func zeroFrame() io.Reader {
	h := appendFrameHeader(nil, frameHeader{fin: true, op: opBinary, length: 1 << 30})
	return io.MultiReader(strings.NewReader(string(h)), io.LimitReader(zeros{}, 1<<30))
}

func TestShutdown(t *testing.T) {
	g := newGate(t, socketComfy(t, func(w *wire, _ *http.Request) { w.drain() }), Options{})
	a, b := g.open(t, "/ws?clientId=a", ""), g.open(t, "/ws?clientId=b", "")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := g.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	for _, w := range []*wire{a, b} {
		wantClose(t, w, closeGoingAway)
		w.Close()
	}
	wg.Wait()
	if w, res := g.try(t, "/ws", "", nil); w != nil || res.StatusCode != 503 {
		t.Errorf("a socket opens after the end: %v", res)
	}
	if o := g.Open(); len(o) != 0 {
		t.Errorf("still open: %v", o)
	}
}

func TestShutdownEndsAHandshake(t *testing.T) {
	f := newFakeComfy(t, func(c net.Conn, br *bufio.Reader, r *http.Request) bool {
		br.ReadByte() // no answer
		return false
	})
	g := newGate(t, f, Options{})
	c, br := g.dial(t)
	io.WriteString(c, crlf("GET /ws HTTP/1.1\nHost: x\n"+handshake+"\n"))
	eventually(t, "ComfyUI has it", func() bool { return len(f.seen()) == 1 })
	if err := g.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if res, _ := readAnswer(t, br, false); res.StatusCode != 503 {
		t.Errorf("got %d, want 503", res.StatusCode)
	}
}

func TestPresence(t *testing.T) {
	left := make(chan Presence, 10)
	g := newGate(t, socketComfy(t, func(w *wire, _ *http.Request) { w.drain() }), Options{Left: func(p Presence) { left <- p }})
	ann := g.socket(t, "/ws?clientId=a1", "ann")
	g.socket(t, "/ws?clientId=a2", "ann")
	g.socket(t, "/ws?clientId=b", "ben")
	eventually(t, "all are open", func() bool { return len(g.Open()) == 3 })
	for _, c := range []struct {
		principal, client string
		want              int
	}{{"user:ann", "", 1}, {"user:ann", "a1", 2}, {"user:ben", "", 2}, {"user:eve", "", 3}} {
		if got := g.Others(c.principal, c.client); got != c.want {
			t.Errorf("others than %v: %d, want %d", c, got, c.want)
		}
	}
	ann.Close(websocket.StatusNormalClosure, "")
	p := <-left
	if p.ClientID != "a1" || p.PrincipalID != "user:ann" || p.Role != account.User || p.Address == "" || p.Since.IsZero() {
		t.Errorf("left: %+v", p)
	}
	if got := g.Others("user:ben", ""); got != 1 {
		t.Errorf("after leaving: %d others, want 1", got)
	}
}
