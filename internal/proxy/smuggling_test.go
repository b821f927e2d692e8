package proxy

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

const handshake = "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n"

func TestF1UpgradeIsNeverPassedOn(t *testing.T) {
	for name, headers := range map[string]string{
		"F1 h2c":                         "Connection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: AAMAAABkAAQAAP__\n",
		"F1 h2c, odd case":               "connection: upgrade\nupgrade: H2C\n",
		"websocket at another route":     handshake,
		"websocket and h2c":              "Connection: Upgrade\nUpgrade: websocket, h2c\n",
		"websocket at an ordinary route": "Connection: Upgrade\nUpgrade: websocket\n",
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeComfy(t, nil)
			g := newGate(t, f, Options{})
			res, body := g.raw(t, "GET /queue HTTP/1.1\nHost: x\n"+headers+"\n")
			if res.StatusCode != 200 || body != "ok" {
				t.Errorf("got %d %q, want an ordinary answer", res.StatusCode, body)
			}
			for _, name := range []string{"Upgrade", "Connection", "HTTP2-Settings", "Sec-WebSocket-Key"} {
				if hasHeader(f.only(t), name) {
					t.Errorf("ComfyUI got %s:\n%s", name, f.only(t))
				}
			}
		})
	}
}

// The second request of the connection is one that must be decided on anew,
// and so must be seen by the gate and not disappear in a tunnel.
func TestF2FakeHandshakeIsNoTunnel(t *testing.T) {
	const good = "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n"
	replace := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	for _, c := range []struct {
		name, headers string
		status        int
	}{
		{"F2 version 777", replace("13", "777"), 426},
		{"no version", replace("Sec-WebSocket-Version: 13\n", ""), 426},
		{"two versions", good + "Sec-WebSocket-Version: 8\n", 426},
		{"no upgrade at all", "", 426},
		{"only Connection", "Connection: Upgrade\n", 426},
		{"Connection without upgrade", replace("Connection: Upgrade", "Connection: keep-alive"), 400},
		{"F1 h2c at the socket", replace("websocket", "h2c"), 400},
		{"websocket and h2c", replace("websocket", "websocket, h2c"), 400},
		{"two upgrades", good + "Upgrade: h2c\n", 400},
		{"no key", replace("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n", ""), 400},
		{"short key", replace("dGhlIHNhbXBsZSBub25jZQ==", "dGhl"), 400},
		{"key that is no base64", replace("dGhlIHNhbXBsZSBub25jZQ==", "!!!!!!!!!!!!!!!!!!!!!!!!"), 400},
		{"two keys", good + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n", 400},
		{"odd protocols", good + "Sec-WebSocket-Protocol: a b\n", 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFakeComfy(t, nil)
			g := newGate(t, f, Options{})
			conn, br := g.dial(t)
			io.WriteString(conn, crlf("GET /ws HTTP/1.1\nHost: x\n"+c.headers+"\n"))
			if res, body := readAnswer(t, br, false); res.StatusCode != c.status {
				t.Errorf("got %d %q, want %d", res.StatusCode, body, c.status)
			}
			if len(f.seen()) != 0 {
				t.Fatalf("ComfyUI saw %q", f.seen())
			}
			io.WriteString(conn, "GET /queue HTTP/1.1\r\nHost: x\r\nX-Test-Who: ben\r\n\r\n")
			if res, _ := readAnswer(t, br, false); res.StatusCode != 200 {
				t.Errorf("the second request got %d", res.StatusCode)
			}
			if line, _, _ := strings.Cut(f.only(t), "\r\n"); line != "GET /queue HTTP/1.1" {
				t.Errorf("ComfyUI saw %q", line)
			}
		})
	}
	for _, method := range []string{"POST", "HEAD", "OPTIONS"} {
		t.Run(method, func(t *testing.T) {
			f := newFakeComfy(t, nil)
			res, _ := newGate(t, f, Options{}).raw(t, method+" /ws HTTP/1.1\nHost: x\n"+good+"\n")
			if res.StatusCode != http.StatusMethodNotAllowed || len(f.seen()) != 0 {
				t.Errorf("got %d, ComfyUI saw %q", res.StatusCode, f.seen())
			}
		})
	}
	t.Run("a handshake with a body", func(t *testing.T) {
		f := newFakeComfy(t, nil)
		res, _ := newGate(t, f, Options{}).raw(t, "GET /ws HTTP/1.1\nHost: x\n"+good+"Content-Length: 4\n\nGET ")
		if res.StatusCode != 400 || len(f.seen()) != 0 {
			t.Errorf("got %d, ComfyUI saw %q", res.StatusCode, f.seen())
		}
	})
}

// Whatever net/http makes of odd framing, ComfyUI sees one framing, and no
// request that the gate has not seen.
func TestF6F8OddFraming(t *testing.T) {
	const hidden = "GET /hidden HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	for name, request := range map[string]string{
		"F6 both lengths":            "POST /prompt HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"F6 two lengths":             "POST /prompt HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 35\r\n\r\n",
		"F6 odd length":              "POST /prompt HTTP/1.1\r\nHost: x\r\nContent-Length: +0\r\n\r\n",
		"F8 xchunked":                "POST /prompt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
		"F8 identity, chunked":       "POST /prompt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
		"F8 TE twice":                "POST /prompt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
		"F8 HTTP/1.0 with TE":        "POST /prompt HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"F8 bare line feed in chunk": "POST /prompt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n",
		"F8 0_2 as a chunk size":     "POST /prompt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0_2\r\n{}\r\n0\r\n\r\n",
		"F8 space before the colon":  "POST /prompt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeComfy(t, nil)
			g := newGate(t, f, Options{})
			var handled atomic.Int32
			g.srv.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				handled.Add(1)
				g.ServeHTTP(w, r)
			})
			c, br := g.dial(t)
			io.WriteString(c, request+hidden)
			res, _ := readAnswer(t, br, false)
			io.Copy(io.Discard, br) // until the gate ends the connection
			if n := len(f.seen()); n > int(handled.Load()) {
				t.Errorf("ComfyUI saw %d requests, the gate %d: %q", n, handled.Load(), f.seen())
			}
			for _, head := range f.seen() {
				if hasHeader(head, "Transfer-Encoding") && hasHeader(head, "Content-Length") {
					t.Errorf("ComfyUI saw two framings:\n%s", head)
				}
				if strings.HasPrefix(head, "GET /hidden") && res.StatusCode != 200 {
					t.Errorf("ComfyUI saw the hidden request after %d", res.StatusCode)
				}
			}
		})
	}
}

func TestF10ConnectIsRefused(t *testing.T) {
	for _, request := range []string{
		"CONNECT evil:80 HTTP/1.1\nHost: evil:80\n\n",
		"CONNECT evil:80 HTTP/1.1\nHost: evil:80\nContent-Length: 4\n\nGET ",
		"CONNECT /queue HTTP/1.1\nHost: x\n\n",
		"TRACE /queue HTTP/1.1\nHost: x\n\n",
	} {
		t.Run(request, func(t *testing.T) {
			f := newFakeComfy(t, nil)
			res, _ := newGate(t, f, Options{}).raw(t, request)
			if res.StatusCode < 400 || res.StatusCode > 405 || len(f.seen()) != 0 {
				t.Errorf("got %d, ComfyUI saw %q", res.StatusCode, f.seen())
			}
		})
	}
}
