package proxy

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// wire is one end of a WebSocket at the level of frames.
type wire struct {
	net.Conn
	br     *bufio.Reader
	client bool // masks what it sends
}

// frame is a frame as it was read.
type frame struct {
	frameHeader
	payload string // unmasked
}

func (f frame) String() string {
	if f.op == opClose && len(f.payload) >= 2 {
		return fmt.Sprintf("close %d %q", binary.BigEndian.Uint16([]byte(f.payload)), f.payload[2:])
	}
	return fmt.Sprintf("op %d fin %v %.60q (%d bytes)", f.op, f.fin, f.payload, len(f.payload))
}

// read reads one frame, whatever it is.
func (w *wire) read() (frame, error) {
	for size := 2; ; size++ {
		b, err := w.br.Peek(size)
		if err != nil {
			return frame{}, err
		}
		h, n, err := parseFrameHeader(b)
		if err != nil {
			return frame{}, err
		}
		if n == 0 {
			continue
		}
		w.br.Discard(n)
		p := make([]byte, h.length)
		if _, err := io.ReadFull(w.br, p); err != nil {
			return frame{}, err
		}
		if h.masked {
			unmask(p, h.mask)
		}
		return frame{h, string(p)}, nil
	}
}

// next reads the next frame that is no ping.
func (w *wire) next(t *testing.T) frame {
	t.Helper()
	for {
		f, err := w.read()
		if err != nil {
			t.Fatalf("read a frame: %v", err)
		}
		if f.op != opPing {
			return f
		}
	}
}

// frame encodes a frame as this end sends it.
func (w *wire) frame(fin bool, op byte, payload string) []byte {
	h := frameHeader{fin: fin, op: op, masked: w.client, mask: [4]byte{1, 2, 3, 4}, length: uint64(len(payload))}
	p := []byte(payload)
	if w.client {
		unmask(p, h.mask)
	}
	return append(appendFrameHeader(nil, h), p...)
}

func (w *wire) send(op byte, payload string) error {
	_, err := w.Write(w.frame(true, op, payload))
	return err
}

func (w *wire) sendClose(code uint16, reason string) error {
	return w.send(opClose, string(closePayload(code, reason)))
}

// answerClose plays ComfyUI's part when a close frame comes: it answers and
// ends the connection.
func (w *wire) answerClose(f frame) {
	w.send(opClose, f.payload[:min(2, len(f.payload))])
	w.Close()
}

// drain reads until the end, and answers a close frame.
func (w *wire) drain() {
	for {
		f, err := w.read()
		if err != nil {
			return
		}
		if f.op == opClose {
			w.answerClose(f)
			return
		}
	}
}

// socketComfy is a ComfyUI that takes each handshake and hands the socket to
// the test. Anything else is answered with "ok".
func socketComfy(t *testing.T, handle func(w *wire, r *http.Request)) *fakeComfy {
	return newFakeComfy(t, func(c net.Conn, br *bufio.Reader, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/ws") {
			io.Copy(io.Discard, r.Body)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			return true
		}
		c.SetDeadline(time.Now().Add(60 * time.Second))
		io.WriteString(c, switching(r.Header.Get("Sec-WebSocket-Key"), ""))
		handle(&wire{Conn: c, br: br}, r)
		return false
	})
}

func switching(key, more string) string {
	return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + acceptKey(key) + "\r\n" + more + "\r\n"
}

// open opens a socket at the level of frames. more are header lines.
func (g *gate) open(t *testing.T, target, more string) *wire {
	t.Helper()
	w, res := g.try(t, target, more, nil)
	if w == nil {
		t.Fatalf("the handshake got %d", res.StatusCode)
	}
	return w
}

// try is open where it may be refused. early is sent with the handshake.
func (g *gate) try(t *testing.T, target, more string, early []byte) (*wire, *http.Response) {
	t.Helper()
	c, br := g.dial(t)
	c.Write(append([]byte(crlf("GET "+target+" HTTP/1.1\nHost: x\n"+handshake+more+"\n")), early...))
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		return nil, res
	}
	if got, want := res.Header.Get("Sec-WebSocket-Accept"), acceptKey("dGhlIHNhbXBsZSBub25jZQ=="); got != want {
		t.Errorf("Sec-WebSocket-Accept %q, want %q", got, want)
	}
	return &wire{Conn: c, br: br, client: true}, res
}

// socket opens a socket with a real client.
func (g *gate) socket(t *testing.T, target, who string) *websocket.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, "ws://"+g.addr()+target, &websocket.DialOptions{
		HTTPHeader:      http.Header{"X-Test-Who": {who}},
		CompressionMode: websocket.CompressionContextTakeover, // offered; nobody takes it
	})
	if err != nil {
		t.Fatal(err)
	}
	c.SetReadLimit(-1)
	t.Cleanup(func() { c.CloseNow() })
	return c
}

func wantClose(t *testing.T, w *wire, code uint16) {
	t.Helper()
	f := w.next(t)
	if f.op != opClose || len(f.payload) < 2 || binary.BigEndian.Uint16([]byte(f.payload)) != code {
		t.Fatalf("got %v, want close %d", f, code)
	}
}

// wantEnd checks that nothing but the end comes.
func wantEnd(t *testing.T, w *wire) {
	t.Helper()
	for {
		f, err := w.read()
		if err != nil {
			return
		}
		if f.op != opPing {
			t.Fatalf("got %v, want the end", f)
		}
	}
}
