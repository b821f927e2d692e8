package server

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestSlowAndGreedyVisitors(t *testing.T) {
	h := newHouse(t, func(o *Options) { o.Times = Times{Header: 500 * time.Millisecond, Form: 500 * time.Millisecond} })
	cookie := h.setUp()
	for _, c := range []struct {
		name, start, drip string
		want              int
	}{
		{"G1 slow headers", "GET /queue HTTP/1.1\r\n", "X", 408},
		{"G1 a header that stands still", "GET /queue HTTP/1.1\r\nHost: x\r\n", "", 408},
		{"G1 a slow request line", "G", "E", 408},
		{"G1 nothing at all", "", "", 0},
		{"G1 preface of h2c", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "", 400},
		{"G1 a hand-shake of TLS", "\x16\x03\x01\x02\x00\x01\x00", "", 408},
		{"G1 slow form", "POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 9999\r\n\r\n", "a", 408},
		{"G1 slow form, chunked", "POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\na\r\n", 408},
		{"G1 slow body without a credential", "POST /queue HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n", "a", 401},
		{"G1 slow body of a wrong path", "POST /../x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\na\r\n", 400},
		{"G1 slow body of no use", "GET /login HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n", "a", 200},
		{"G1 slow header behind a good request", "GET /login HTTP/1.1\r\nHost: x\r\n\r\nGET /login HTTP/1.1\r\n", "X", 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", h.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(8 * time.Second))
			io.WriteString(conn, c.start)
			done := make(chan struct{})
			var drip sync.WaitGroup
			drip.Go(func() {
				for {
					select {
					case <-done:
						return
					case <-time.After(50 * time.Millisecond):
						if _, err := io.WriteString(conn, c.drip); err != nil {
							return
						}
					}
				}
			})
			got, err := io.ReadAll(conn) // ends when the gate closes, which it must
			close(done)
			drip.Wait()
			if e, ok := err.(net.Error); ok && e.Timeout() {
				t.Fatal("the connection is still open")
			}
			status := 0
			fmt.Sscanf(string(got), "HTTP/1.1 %d", &status)
			if status != c.want {
				t.Errorf("got %q, want %d", short(string(got)), c.want)
			}
		})
	}
	for _, c := range []struct {
		name, text string
		want       int
	}{
		{"G1 header flood", "GET /queue HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X-A: "+strings.Repeat("a", 1000)+"\r\n", 200) + "\r\n", 431},
		{"G1 many small headers", "GET /queue HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("a: b\r\n", 50_000) + "\r\n", 431},
		{"G1 one endless header", "GET /queue HTTP/1.1\r\nHost: x\r\nX-A: " + strings.Repeat("a", 1<<20) + "\r\n\r\n", 431},
		{"G3 body bomb", "POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 104857600\r\n\r\n", 413},
		{"G3 compressed form", "POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd", 415},
		{"G3 nested JSON", "POST /_latch/api/browser-token HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 40000\r\n\r\n" + strings.Repeat("[", 40000), 400},
		{"G3 control", "GET /login HTTP/1.1\r\nHost: x\r\n\r\n", 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := *h
			h.t = t
			h.wantStatus(h.rawLoose(c.text), c.want)
		})
	}
	t.Run("G1 control: a slow upload of somebody known is not cut", func(t *testing.T) {
		conn, err := net.Dial("tcp", h.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(8 * time.Second))
		body := formOf(imageHead+`"slow.png"`, "x")
		fmt.Fprintf(conn, "POST /upload/image HTTP/1.1\r\nHost: %s\r\nCookie: %s\r\nOrigin: %s\r\n%s\r\nContent-Length: %d\r\n\r\n", h.addr, cookie, h.url, formType, len(body))
		for i := range 8 {
			time.Sleep(100 * time.Millisecond)
			io.WriteString(conn, body[i*len(body)/8:(i+1)*len(body)/8])
		}
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || res.StatusCode != 200 {
			t.Errorf("got %v, %v", res, err)
		}
	})
}

// rawLoose is raw for requests whose rest the gate does not read.
func (h *house) rawLoose(text string) answer {
	h.t.Helper()
	c, err := net.Dial("tcp", h.addr)
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(8 * time.Second))
	var writing sync.WaitGroup
	writing.Go(func() { io.WriteString(c, text) })
	defer writing.Wait()
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		h.t.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(res.Body, 1000))
	return answer{status: res.StatusCode, header: res.Header, body: string(body), closed: res.Close}
}

func TestManyConnectionsKeepNobodyOut(t *testing.T) {
	for _, c := range []struct{ name, text string }{
		{"G1 half-open connections", "GET /queue HTTP/1.1\r\n"},
		{"G1 silent connections", ""},
		{"G1 idle connections", "GET /_latch/x HTTP/1.1\r\nHost: x\r\n\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t, func(o *Options) { o.MaxConnections = 64 })
			h.setUp()
			var held []net.Conn
			for range 300 {
				conn, err := net.Dial("tcp", h.addr)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				io.WriteString(conn, c.text)
				held = append(held, conn)
			}
			for range 50 {
				h.wantStatus(h.get("/queue", bearer), 200)
			}
			open := 0
			for _, conn := range held {
				conn.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
				if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
					open++
				}
			}
			if open > 64 {
				t.Errorf("%d of 300 are still open, want at most 64", open)
			}
		})
	}
}

func TestTheDoorCounts(t *testing.T) {
	d := newDoor(100, func(a netip.Addr) bool { return a == netip.MustParseAddr("10.0.0.1") })
	d.perHost, d.waiting = 10, 5
	from := func(addr string) *seat { return d.enter(&deadEnd{addr: addr}) }
	var mine []*seat
	for range 5 {
		mine = append(mine, from("192.0.2.1:1"))
	}
	if from("192.0.2.1:2"); !mine[0].left.Load() || mine[1].left.Load() {
		t.Error("the one that waited longest should have gone, and no other")
	}
	for _, s := range mine[1:] {
		d.note(s, http.StateActive)
	}
	for range 6 { // four are busy, five may wait
		from("192.0.2.1:3")
	}
	for _, s := range mine[1:] {
		if s.left.Load() {
			t.Error("a busy connection was closed")
		}
	}
	d.note(mine[1], http.StateIdle)
	if from("192.0.2.1:4"); mine[1].left.Load() {
		t.Error("one that has just ended a request was closed before those that never began one")
	}
	d.note(mine[1], http.StateActive)
	for range 200 {
		if from("10.0.0.1:1") == nil {
			t.Fatal("a trusted proxy was turned away while others wait")
		}
	}
	if d.open > 100 {
		t.Errorf("%d are open, want at most 100", d.open)
	}
	other := from("198.51.100.1:1")
	if other == nil {
		t.Fatal("another address was turned away")
	}
	d.note(other, http.StateHijacked)
	if d.hosts[other.addr] != nil {
		t.Error("a socket still counts for its address")
	}
	for d.queue.Len() > 0 {
		d.queue.Front().Value.(*seat).Close()
	}
	for _, s := range mine {
		s.Close()
		s.Close()
	}
	other.Close()
	if d.open != 0 || len(d.hosts) != 0 {
		t.Errorf("when all have gone, %d are open and %d addresses known", d.open, len(d.hosts))
	}
}

// deadEnd is a connection that leads nowhere.
type deadEnd struct {
	net.Conn
	addr string
}

func (n *deadEnd) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(n.addr))
}
func (n *deadEnd) Close() error { return nil }
