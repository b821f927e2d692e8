package proxy

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

func preview(i int) string { return fmt.Sprintf("%08d", i) + strings.Repeat("x", 1<<20) }

// ComfyUI waits for each client in turn, so it must never wait for a slow one.
func TestSlowReaderDoesNotHoldUpComfyUI(t *testing.T) {
	const frames = 24
	written := make(chan bool)
	g := newGate(t, socketComfy(t, func(w *wire, _ *http.Request) {
		for i := range frames {
			w.send(opBinary, preview(i))
		}
		close(written)
		w.drain()
	}), Options{})
	w := g.open(t, "/ws", "")
	<-written // and the client has read nothing
	for i := range frames {
		if f := w.next(t); f.payload != preview(i) {
			t.Fatalf("frame %d is %v", i, f)
		}
	}
	eventually(t, "nothing is kept", func() bool { return g.behind.Load() == 0 })
	w.sendClose(1000, "")
	wantClose(t, w, 1000)
}

func TestReaderTooFarBehindIsClosedWithAReason(t *testing.T) {
	written := make(chan bool)
	g := newGate(t, socketComfy(t, func(w *wire, _ *http.Request) {
		for i := range 80 {
			w.send(opBinary, preview(i))
		}
		close(written)
		w.drain()
	}), Options{Times: Times{Close: 20 * time.Second}})
	w := g.open(t, "/ws", "")
	<-written
	for i := 0; ; i++ {
		f := w.next(t)
		if f.op == opClose {
			if want := fmt.Sprintf("close %d \"too slow\"", closeTryLater); f.String() != want {
				t.Errorf("got %v, want %s", f, want)
			}
			break
		}
		if f.payload != preview(i) {
			t.Fatalf("frame %d is %v", i, f)
		}
	}
	w.Close()
	eventually(t, "nothing is kept", func() bool { return g.behind.Load() == 0 && len(g.Open()) == 0 })
}
