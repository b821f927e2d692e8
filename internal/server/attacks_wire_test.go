package server

import (
	"comfylatch/internal/web"
	"strings"
	"testing"
)

func TestMessagesThatTwoServersReadDifferently(t *testing.T) {
	h := newHouse(t, nil)
	head := "POST /free HTTP/1.1\r\nHost: " + h.addr + "\r\n" + bearer + "\r\n"
	for _, c := range []struct {
		name, text string
		ok         func(answer) bool
	}{
		{"F6 CL+TE", head + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\nGET /queue HTTP/1.1\r\nHost: x\r\n\r\n", refusedOrClosed},
		{"F8 xchunked", head + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", refused},
		{"F8 identity, chunked", head + "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", refused},
		{"F8 two TE", head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", refused},
		{"F8 TE on HTTP/1.0", strings.Replace(head, "HTTP/1.1", "HTTP/1.0", 1) + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", refusedOrClosed},
		{"F8 odd chunk size", head + "Transfer-Encoding: chunked\r\n\r\n0_2e\r\n\r\n", refused},
		{"F8 bare LF chunk line", head + "Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n", refusedOrClosed},
		{"two Content-Length", head + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x", refused},
		{"signed Content-Length", head + "Content-Length: +2\r\n\r\n{}", refused},
		{"space before the colon", head + "Content-Length : 2\r\n\r\n{}", refused},
		{"obsolete folding", head + "X-A: b\r\n c: d\r\nContent-Length: 2\r\n\r\n{}", func(a answer) bool { return a.status < 500 }},
		{"no Host", "GET /queue HTTP/1.1\r\n" + bearer + "\r\n\r\n", refused},
		{"two Hosts", "GET /queue HTTP/1.1\r\nHost: a\r\nHost: b\r\n" + bearer + "\r\n\r\n", refused},
		{"C2 absolute form", "GET http://evil/queue HTTP/1.1\r\nHost: " + h.addr + "\r\n" + bearer + "\r\n\r\n", refused},
		{"F10 CONNECT", "CONNECT evil:80 HTTP/1.1\r\nHost: evil:80\r\n" + bearer + "\r\n\r\n", refused},
		{"TRACE", "TRACE /queue HTTP/1.1\r\nHost: " + h.addr + "\r\n" + bearer + "\r\n\r\n", refused},
		{"lower case method", "get /queue HTTP/1.1\r\nHost: " + h.addr + "\r\n" + bearer + "\r\n\r\n", refused},
		{"asterisk", "OPTIONS * HTTP/1.1\r\nHost: " + h.addr + "\r\n\r\n", func(a answer) bool { return a.status < 500 }},
		{"HTTP/0.9", "GET /queue\r\n\r\n", refused},
		{"a bare LF line end", "GET /queue HTTP/1.1\nHost: " + h.addr + "\n\n", func(a answer) bool { return a.status == 401 || a.status == 400 }},
		{"control", head + "Content-Length: 2\r\n\r\n{}", func(a answer) bool { return a.status == 200 }},
		{"control: chunked", head + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", func(a answer) bool { return a.status == 200 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := *h
			h.t = t
			all := h.raw(c.text, strings.Fields(c.text)[0], "GET")
			if !c.ok(all[0]) {
				t.Errorf("got %d %q", all[0].status, short(all[0].body))
			}
			if len(all) > 1 && all[1].status == 200 {
				t.Errorf("a second request was answered: %q", short(all[1].body))
			}
		})
	}
	t.Run("B17 trailers", func(t *testing.T) {
		h := *h
		h.t = t
		h.comfy.ForgetRequests()
		got := h.raw(head+"Transfer-Encoding: chunked\r\nTrailer: X-User\r\n\r\n2\r\n{}\r\n0\r\nX-User: root\r\n\r\n", "POST")
		h.wantStatus(got[0], 200)
		for _, r := range h.sent() {
			if r.Header.Get("X-User") != "" || r.Header.Get("Trailer") != "" {
				t.Errorf("a trailer went upstream: %v", r.Header)
			}
		}
	})
	t.Run("F12 Expect without a credential", func(t *testing.T) {
		h := *h
		h.t = t
		got := h.raw("POST /upload/image HTTP/1.1\r\nHost: "+h.addr+"\r\nExpect: 100-continue\r\nContent-Length: 10737418240\r\n\r\n", "POST")
		h.wantStatus(got[0], 401)
		if !got[0].closed {
			t.Error("the connection is kept for 10 GB that nobody wants")
		}
	})
	t.Run("F1 h2c", func(t *testing.T) {
		h := *h
		h.t = t
		h.comfy.ForgetRequests()
		got := h.get("/queue", bearer, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA")
		h.wantStatus(got, 200)
		for _, r := range h.sent() {
			if r.Header.Get("Upgrade") != "" || r.Header.Get("Http2-Settings") != "" {
				t.Errorf("the upgrade went upstream: %v", r.Header)
			}
		}
	})
	t.Run("F2 fake WebSocket", func(t *testing.T) {
		h := *h
		h.t = t
		h.comfy.ForgetRequests()
		got := h.raw("GET /ws HTTP/1.1\r\nHost: "+h.addr+"\r\n"+bearer+"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 777\r\nSec-WebSocket-Key: x\r\n\r\n"+
			"GET /internal/logs HTTP/1.1\r\nHost: "+h.addr+"\r\n\r\n", "GET", "GET")
		if got[0].status < 400 {
			t.Errorf("got %d", got[0].status)
		}
		if len(got) > 1 && got[1].status != 401 {
			t.Errorf("the second request was answered %d", got[1].status)
		}
		for _, r := range h.sent() {
			if strings.Contains(r.URI, "logs") {
				t.Error("the second request reached ComfyUI")
			}
		}
	})
}

func refused(a answer) bool { return a.status >= 400 && a.status <= 505 && a.status != 500 }

func refusedOrClosed(a answer) bool { return refused(a) || a.closed }

func TestAFaultRefusesAndNeverPasses(t *testing.T) {
	h := newHouse(t, nil)
	t.Run("G9 the store fails", func(t *testing.T) {
		h := *h
		h.t = t
		h.comfy.ForgetRequests()
		h.db.Close()
		got := h.get("/queue", "Cookie: "+web.CookieName(false)+"=cs_1111111111111111111111111111111111111111111")
		h.wantStatus(got, 503)
		h.wantNothingSent()
	})
}
