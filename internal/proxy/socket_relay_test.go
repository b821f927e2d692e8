package proxy

import (
	"bytes"
	"context"
	"io"
	"math/rand"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// echo sends every frame back as it came.
func echo(w *wire, _ *http.Request) {
	for {
		f, err := w.read()
		switch {
		case err != nil:
			return
		case f.op == opClose:
			w.answerClose(f)
			return
		case f.op == opPing:
			w.send(opPong, f.payload)
		case f.op != opPong:
			w.Write(w.frame(f.fin, f.op, f.payload))
		}
	}
}

func TestMessagesOfAllSizesGoBothWays(t *testing.T) {
	g := newGate(t, socketComfy(t, echo), Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	c := g.socket(t, "/ws?clientId=a", "ann")
	rnd := rand.New(rand.NewSource(1))
	for _, size := range []int{0, 1, 125, 126, 500, 511, 512, 513, 4096, 65535, 65536, 100_000, 20 << 20} {
		sent := make([]byte, size)
		rnd.Read(sent)
		if err := c.Write(ctx, websocket.MessageBinary, sent); err != nil {
			t.Fatal(size, err)
		}
		kind, got, err := c.Read(ctx)
		if err != nil || kind != websocket.MessageBinary || !bytes.Equal(got, sent) {
			t.Fatalf("of %d bytes came %d back as %v, %v", size, len(got), kind, err)
		}
	}
	if err := c.Write(ctx, websocket.MessageText, []byte(`{"type":"feature_flags"}`)); err != nil {
		t.Fatal(err)
	}
	if kind, got, err := c.Read(ctx); kind != websocket.MessageText || string(got) != `{"type":"feature_flags"}` || err != nil {
		t.Errorf("got %v %q, %v", kind, got, err)
	}
	if err := c.Close(websocket.StatusNormalClosure, "bye"); err != nil {
		t.Errorf("close: %v", err)
	}
}

func TestFramesStayAsTheyAre(t *testing.T) {
	g := newGate(t, socketComfy(t, echo), Options{})
	w := g.open(t, "/api/ws", "")
	w.Write(w.frame(false, opText, "one "))
	w.Write(w.frame(false, opContinuation, ""))
	w.send(opPing, "between")
	w.Write(w.frame(true, opContinuation, strings.Repeat("two", 1000)))
	for _, want := range []frame{
		{frameHeader{op: opText}, "one "},
		{frameHeader{op: opContinuation}, ""},
		{frameHeader{op: opPong, fin: true}, "between"},
		{frameHeader{op: opContinuation, fin: true}, strings.Repeat("two", 1000)},
	} {
		if f := w.next(t); f.op != want.op || f.fin != want.fin || f.payload != want.payload {
			t.Errorf("got %v, want %v", f, want)
		}
	}
}

func TestF4EarlyFramesArrive(t *testing.T) {
	for name, size := range map[string]int{"one small frame": 5, "one of many kilobytes": 300_000} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, socketComfy(t, echo), Options{})
			payload := strings.Repeat("x", size)
			early := (&wire{client: true}).frame(true, opText, payload)
			w, res := g.try(t, "/ws", "", early)
			if w == nil {
				t.Fatalf("the handshake got %d", res.StatusCode)
			}
			if f := w.next(t); f.payload != payload {
				t.Errorf("got %v", f)
			}
		})
	}
	t.Run("of ComfyUI with its answer", func(t *testing.T) {
		payload := strings.Repeat("y", 3000)
		f := newFakeComfy(t, nil)
		f.answer = rawSocket(func(key string) []byte {
			return append([]byte(switching(key, "")), (&wire{}).frame(true, opText, payload)...)
		})
		w := newGate(t, f, Options{}).open(t, "/ws", "")
		if f := w.next(t); f.payload != payload {
			t.Errorf("got %v", f)
		}
	})
}

func TestCloseIsPassedOn(t *testing.T) {
	t.Run("the client's", func(t *testing.T) {
		got := make(chan frame, 1)
		ended := make(chan error, 1)
		g := newGate(t, socketComfy(t, func(w *wire, _ *http.Request) {
			f, _ := w.read()
			got <- f
			w.send(opClose, f.payload)
			_, err := w.read()
			ended <- err
		}), Options{})
		w := g.open(t, "/ws", "")
		w.sendClose(4000, "enough")
		if f := <-got; f.String() != `close 4000 "enough"` || !f.masked {
			t.Errorf("ComfyUI got %v", f)
		}
		wantClose(t, w, 4000)
		wantEnd(t, w)
		if err := <-ended; err != io.EOF {
			t.Errorf("ComfyUI's connection: %v", err)
		}
	})
	t.Run("ComfyUI's", func(t *testing.T) {
		got := make(chan frame, 1)
		g := newGate(t, socketComfy(t, func(w *wire, _ *http.Request) {
			w.sendClose(4001, "no more")
			f, _ := w.read()
			got <- f
		}), Options{})
		w := g.open(t, "/ws", "")
		wantClose(t, w, 4001)
		w.sendClose(4001, "")
		wantEnd(t, w)
		if f := <-got; f.op != opClose || f.payload != string(closePayload(4001, "")) {
			t.Errorf("ComfyUI got %v", f)
		}
	})
	t.Run("one that is not answered ends all the same", func(t *testing.T) {
		ended := make(chan error, 1)
		g := newGate(t, socketComfy(t, func(w *wire, _ *http.Request) {
			w.read()
			for {
				if _, err := w.read(); err != nil {
					ended <- err
					return
				}
			}
		}), Options{Times: Times{Close: 20 * time.Millisecond}})
		w := g.open(t, "/ws", "")
		w.sendClose(1000, "")
		wantClose(t, w, closeGoingAway)
		<-ended
	})
}

func TestComfyUIGoesAway(t *testing.T) {
	t.Run("between frames", func(t *testing.T) {
		g := newGate(t, socketComfy(t, func(w *wire, _ *http.Request) { w.send(opText, "hello") }), Options{})
		w := g.open(t, "/ws", "")
		if f := w.next(t); f.payload != "hello" {
			t.Errorf("got %v", f)
		}
		wantClose(t, w, closeRestart)
		wantEnd(t, w)
	})
	t.Run("within a message", func(t *testing.T) {
		g := newGate(t, socketComfy(t, func(w *wire, _ *http.Request) { w.Write(w.frame(false, opText, "half")) }), Options{})
		w := g.open(t, "/ws", "")
		w.next(t)
		wantClose(t, w, closeRestart)
	})
	t.Run("within a frame, where nothing can be said", func(t *testing.T) {
		g := newGate(t, socketComfy(t, func(w *wire, _ *http.Request) {
			w.Write(w.frame(true, opBinary, strings.Repeat("x", 5000))[:3000])
		}), Options{})
		w := g.open(t, "/ws", "")
		rest, _ := io.ReadAll(w.br)
		if len(rest) != 3000 {
			t.Errorf("the client got %d bytes, want the 3000 that came", len(rest))
		}
	})
}

func TestClientGoesAway(t *testing.T) {
	got := make(chan frame, 1)
	ended := make(chan error, 1)
	f := socketComfy(t, func(w *wire, _ *http.Request) {
		f, _ := w.read()
		got <- f
		w.answerClose(f)
		_, err := w.read()
		ended <- err
	})
	g := newGate(t, f, Options{})
	w := g.open(t, "/ws", "")
	w.Close()
	if f := <-got; f.op != opClose {
		t.Errorf("ComfyUI got %v", f)
	}
	<-ended
	eventually(t, "no socket is left", func() bool { return len(g.Open()) == 0 })
}

func TestBadFramesOfAClient(t *testing.T) {
	mask := []byte{0, 0, 0, 0}
	for name, bad := range map[string][]byte{
		"not masked":                   {0x81, 0x00},
		"an extension bit":             append([]byte{0xC1, 0x80}, mask...),
		"an unknown opcode":            append([]byte{0x83, 0x80}, mask...),
		"an unknown control opcode":    append([]byte{0x8B, 0x80}, mask...),
		"a long ping":                  append([]byte{0x89, 0xFE, 0, 126}, mask...),
		"a ping in pieces":             append([]byte{0x09, 0x80}, mask...),
		"a length longer than needed":  append([]byte{0x81, 0xFE, 0, 5}, mask...),
		"the same with eight bytes":    append([]byte{0x81, 0xFF, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, mask...),
		"a negative length":            append([]byte{0x81, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0}, mask...),
		"a continuation of nothing":    append([]byte{0x80, 0x80}, mask...),
		"a close with one byte":        append([]byte{0x88, 0x81}, append(mask, 0)...),
		"a message within a message":   append(append([]byte{0x01, 0x80}, mask...), append([]byte{0x81, 0x80}, mask...)...),
		"another HTTP request":         []byte("GET /queue HTTP/1.1\r\nHost: x\r\n\r\n"),
		"the preface of HTTP/2 (h2c) ": []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			got := make(chan frame, 10)
			g := newGate(t, socketComfy(t, func(w *wire, _ *http.Request) {
				defer close(got)
				for {
					f, err := w.read()
					if err != nil {
						return
					}
					got <- f
					if f.op == opClose {
						w.answerClose(f)
						return
					}
				}
			}), Options{})
			w := g.open(t, "/ws", "")
			w.Write(bad)
			wantClose(t, w, closeProtocol)
			wantEnd(t, w)
			for f := range got {
				if f.op != opClose && !(f.op == opText && !f.fin) {
					t.Errorf("ComfyUI got %v", f)
				}
			}
			if n := len(g.comf.seen()); n != 1 {
				t.Errorf("ComfyUI saw %d requests", n)
			}
		})
	}
}

func TestBadFramesOfComfyUI(t *testing.T) {
	g := newGate(t, socketComfy(t, func(w *wire, _ *http.Request) {
		(&wire{Conn: w.Conn, client: true}).send(opText, "masked")
		w.drain()
	}), Options{})
	wantClose(t, g.open(t, "/ws", ""), closeInternal)
}
