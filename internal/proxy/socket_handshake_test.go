package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// rawSocket is a ComfyUI whose answer to a handshake the test writes.
func rawSocket(answer func(key string) []byte) func(net.Conn, *bufio.Reader, *http.Request) bool {
	return func(c net.Conn, br *bufio.Reader, r *http.Request) bool {
		if r.URL.Path != "/ws" {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			return true
		}
		c.Write(answer(r.Header.Get("Sec-WebSocket-Key")))
		c.SetReadDeadline(time.Now().Add(60 * time.Second))
		(&wire{Conn: c, br: br}).drain()
		return false
	}
}

func TestHandshakeUpstreamIsOurOwn(t *testing.T) {
	f := socketComfy(t, echo)
	g := newGate(t, f, Options{})
	g.open(t, "/api/ws?clientId=a&x=1;2", `Origin: http://evil.example
Sec-WebSocket-Extensions: permessage-deflate
Sec-Fetch-Site: same-origin
Cookie: a=1; latch=secret; b=2
Authorization: Bearer secret
X-API-Key: secret
Comfy-User: victim
User-Agent: test/1
Accept-Language: de
Range: bytes=0-1
X-Forwarded-For: 1.2.3.4
`)
	head := f.only(t)
	if line, _, _ := strings.Cut(head, "\r\n"); line != "GET /api/ws?clientId=a&x=1;2 HTTP/1.1" {
		t.Errorf("request line %q", line)
	}
	for _, line := range []string{
		"Host: " + f.Addr().String(), "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
		"Cookie: a=1; b=2", "User-Agent: test/1", "Accept-Language: de",
	} {
		wantHeader(t, head, line)
	}
	for _, name := range []string{"Origin", "Sec-WebSocket-Extensions", "Sec-Fetch-Site", "Authorization", "X-API-Key",
		"Comfy-User", "Range", "X-Forwarded-For", "X-Test-Who", "Sec-WebSocket-Protocol"} {
		if hasHeader(head, name) {
			t.Errorf("ComfyUI got %s", name)
		}
	}
	if strings.Contains(head, "dGhlIHNhbXBsZSBub25jZQ==") {
		t.Error("the client's key went to ComfyUI")
	}
}

func TestB6ConnectionCannotBreakTheHandshake(t *testing.T) {
	f := socketComfy(t, echo)
	g := newGate(t, f, Options{})
	c, br := g.dial(t)
	io.WriteString(c, crlf("GET /ws HTTP/1.1\nHost: x\nConnection: upgrade, Sec-WebSocket-Key, Sec-WebSocket-Version, Host, Upgrade\n"+
		"Upgrade: WebSocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n\n"))
	if res, err := http.ReadResponse(br, nil); err != nil || res.StatusCode != 101 {
		t.Fatalf("got %v, %v", res, err)
	}
	for _, name := range []string{"Sec-WebSocket-Key", "Sec-WebSocket-Version", "Host", "Upgrade"} {
		if !hasHeader(f.only(t), name) {
			t.Errorf("ComfyUI did not get %s:\n%s", name, f.only(t))
		}
	}
}

func TestClientIDIsMadeUpWhereThereIsNone(t *testing.T) {
	for _, target := range []string{"/ws", "/ws?clientId=", "/ws?clientId"} {
		t.Run(target, func(t *testing.T) {
			f := socketComfy(t, echo)
			g := newGate(t, f, Options{})
			g.open(t, target, "")
			line, _, _ := strings.Cut(f.only(t), "\r\n")
			id, ok := strings.CutPrefix(strings.TrimSuffix(line, " HTTP/1.1"), "GET /ws?clientId=")
			if !ok || len(id) != 32 {
				t.Errorf("ComfyUI saw %q", line)
			}
			if g.ClientIDs().Bind(id, "user:ben") {
				t.Error("somebody else can take the id")
			}
		})
	}
}

func TestRefusedHandshakeIsAnOrdinaryAnswer(t *testing.T) {
	for name, answer := range map[string]string{
		"404":         "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope",
		"403 chunked": "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nnope\r\n0\r\n\r\n",
		"200":         "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnope",
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeComfy(t, rawSocket(func(string) []byte { return []byte(answer) }))
			g := newGate(t, f, Options{})
			c, br := g.dial(t)
			io.WriteString(c, crlf("GET /ws HTTP/1.1\nHost: x\n"+handshake+"\n"))
			res, body := readAnswer(t, br, false)
			if res.StatusCode == 101 || res.StatusCode == 502 || body != "nope" {
				t.Fatalf("got %d %q", res.StatusCode, body)
			}
			// What follows is a request like any other.
			io.WriteString(c, "GET /queue HTTP/1.1\r\nHost: x\r\n\r\n")
			if res, body := readAnswer(t, br, false); res.StatusCode != 200 || body != "ok" {
				t.Errorf("the second request got %d %q", res.StatusCode, body)
			}
			eventually(t, "no socket is left", func() bool { return len(g.Open()) == 0 && g.Others("", "") == 0 })
		})
	}
}

func TestFalse101IsNoTunnel(t *testing.T) {
	for name, answer := range map[string]func(key string) string{
		"a wrong accept":      func(string) string { return switching("other", "") },
		"an extension":        func(key string) string { return switching(key, "Sec-WebSocket-Extensions: permessage-deflate\r\n") },
		"an unasked protocol": func(key string) string { return switching(key, "Sec-WebSocket-Protocol: chat\r\n") },
		"another upgrade":     func(key string) string { return strings.Replace(switching(key, ""), "websocket", "h2c", 1) },
		"no answer":           func(string) string { return "" },
		"an endless header":   func(string) string { return "HTTP/1.1 101 x\r\nX: " + strings.Repeat("x", 100_000) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeComfy(t, func(c net.Conn, br *bufio.Reader, r *http.Request) bool {
				io.WriteString(c, answer(r.Header.Get("Sec-WebSocket-Key")))
				return false
			})
			g := newGate(t, f, Options{})
			w, res := g.try(t, "/ws", "", nil)
			if w != nil || res.StatusCode != 502 {
				t.Fatalf("got %v, %v", w, res)
			}
		})
	}
}

func TestSubprotocols(t *testing.T) {
	f := newFakeComfy(t, rawSocket(func(key string) []byte {
		return []byte(switching(key, "Sec-WebSocket-Protocol: b\r\n"))
	}))
	g := newGate(t, f, Options{})
	w, res := g.try(t, "/ws", "Sec-WebSocket-Protocol: a,b\nSec-WebSocket-Protocol: c\n", nil)
	if w == nil || res.Header.Get("Sec-WebSocket-Protocol") != "b" {
		t.Fatalf("got %d, protocol %q", res.StatusCode, res.Header.Get("Sec-WebSocket-Protocol"))
	}
	wantHeader(t, f.only(t), "Sec-WebSocket-Protocol: a, b, c")
}

func TestHandshakeThatComfyUIDoesNotAnswer(t *testing.T) {
	f := newFakeComfy(t, rawSocket(func(string) []byte { return nil }))
	g := newGate(t, f, Options{Times: Times{Handshake: 30 * time.Millisecond}})
	if w, res := g.try(t, "/ws", "", nil); w != nil || res.StatusCode != 504 {
		t.Errorf("got %v, %v", w, res)
	}
}

func TestClientThatLeavesDuringTheHandshake(t *testing.T) {
	ended := make(chan bool)
	f := newFakeComfy(t, func(c net.Conn, br *bufio.Reader, r *http.Request) bool {
		br.ReadByte()
		close(ended)
		return false
	})
	g := newGate(t, f, Options{})
	c, _ := g.dial(t)
	io.WriteString(c, crlf("GET /ws?clientId=a HTTP/1.1\nHost: x\n"+handshake+"\n"))
	eventually(t, "ComfyUI has it", func() bool { return len(f.seen()) == 1 })
	c.Close()
	<-ended
}
