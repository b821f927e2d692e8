package server

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"comfylatch/internal/account"
	"comfylatch/internal/audit"
	"comfylatch/internal/cache"
	"comfylatch/internal/login"
	"comfylatch/internal/proxy"
	"comfylatch/internal/session"
	"comfylatch/internal/store"
	"comfylatch/internal/throttle"
	"comfylatch/internal/upstream"
	"comfylatch/internal/web"
)

// instant is a ComfyUI that answers at once, without a connection.
type instant struct{ *upstream.Server }

const queueJSON = `{"queue_running": [], "queue_pending": []}`

func (instant) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, ContentLength: int64(len(queueJSON)), Body: io.NopCloser(strings.NewReader(queueJSON)),
		Header: http.Header{"Content-Type": {"application/json; charset=utf-8"}, "Date": {"now"}, "Server": {"aiohttp"}}}, nil
}

// hotPath is a gate without its background work, a token and a session.
func hotPath(b *testing.B, comfyUI string) (front func(proxy.Upstream) *Server, up *upstream.Server, token, cookie string) {
	b.Helper()
	need := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	ctx, dir, log := b.Context(), b.TempDir(), slog.New(slog.NewTextHandler(io.Discard, nil))
	db, err := store.Open(ctx, filepath.Join(dir, "comfylatch.db"))
	need(err)
	b.Cleanup(func() { db.Close() })
	limiter, err := throttle.New(ctx, db)
	need(err)
	sessions := session.New(db, session.Config{})
	people, err := login.New(ctx, login.Options{StateDir: dir, Store: db, Sessions: sessions, Throttle: limiter, Audit: audit.New(db, log), Log: log})
	need(err)
	address, err := url.Parse(comfyUI)
	need(err)
	up, err = upstream.New(upstream.Options{URL: address, Log: log})
	need(err)
	b.Cleanup(up.Close)
	site, err := web.New(web.Options{Login: people, Log: log})
	need(err)
	secret, _, err := people.SetUp(ctx, "me", "secret", "", login.Client{Address: netip.MustParseAddr("127.0.0.1"), Local: true})
	need(err)
	made, _, err := login.NewTokens(db).CreateToken(ctx, login.NewToken{Name: "bench", Role: account.Admin})
	need(err)
	ours := func(name string) bool { return name == web.CookieName(true) || name == web.CookieName(false) }
	front = func(u proxy.Upstream) *Server {
		p := proxy.New(proxy.Options{Upstream: u, Log: log, OurCookie: ours, OnEnd: sessions.OnEnd})
		return New(Options{Site: site, Login: people, Sessions: people, Upstream: p, Cache: cache.New(cache.Options{Upstream: up, MaxBytes: 1 << 20, Log: log}),
			Log: log, BindClient: p.ClientIDs().Bind, Auth: true})
	}
	return front, up, "Bearer " + made.Reveal(), web.CookieName(false) + "=" + secret.Reveal()
}

// nowhere takes an answer and forgets it.
type nowhere struct{ header http.Header }

func (n *nowhere) Header() http.Header         { return n.header }
func (n *nowhere) WriteHeader(int)             {}
func (n *nowhere) Write(p []byte) (int, error) { return len(p), nil }

// BenchmarkHandle is what a small request costs inside the gate: without
// net/http's reading and writing on either side.
func BenchmarkHandle(b *testing.B) {
	front, up, token, cookie := hotPath(b, "http://127.0.0.1:1")
	s := front(instant{up})
	for _, c := range []struct{ name, key, value string }{{"token", "Authorization", token}, {"cookie", "Cookie", cookie}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					r := httptest.NewRequestWithContext(context.Background(), "GET", "/api/queue", nil)
					r.RemoteAddr, r.Host = "127.0.0.1:5000", "127.0.0.1:8189"
					r.Header = http.Header{"Accept": {"*/*"}, "User-Agent": {"bench"}, c.key: {c.value}}
					s.ServeHTTP(&nowhere{make(http.Header)}, r)
				}
			})
		})
	}
}

// BenchmarkWire is the same over connections, with the least of a client and
// of a ComfyUI on the two ends, whose cost is in it.
func BenchmarkWire(b *testing.B) {
	front, up, token, cookie := hotPath(b, "http://"+serveQueue(b))
	gate := httptest.NewServer(front(up))
	b.Cleanup(gate.Close)
	addr := gate.Listener.Addr().String()
	for _, c := range []struct{ name, header string }{{"token", "Authorization: " + token}, {"cookie", "Cookie: " + cookie}} {
		b.Run(c.name, func(b *testing.B) {
			request := []byte("GET /api/queue HTTP/1.1\r\nHost: " + addr + "\r\nUser-Agent: bench\r\nAccept: */*\r\n" + c.header + "\r\n\r\n")
			b.ReportAllocs()
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				conn, err := net.Dial("tcp", addr)
				if err != nil {
					b.Error(err)
					return
				}
				defer conn.Close()
				answer := make([]byte, 4096)
				for pb.Next() {
					if _, err := conn.Write(request); err != nil {
						b.Error(err)
						return
					}
					n, err := conn.Read(answer)
					if err != nil || !strings.HasPrefix(string(answer[:n]), "HTTP/1.1 200 ") {
						b.Errorf("answer: %q, %v", answer[:n], err)
						return
					}
				}
			})
		})
	}
}

// serveQueue answers every request with an empty queue, and gives its address.
func serveQueue(b *testing.B) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 42\r\nDate: Sun, 22 Nov 2026 12:00:00 GMT\r\nServer: aiohttp\r\n\r\n" + queueJSON)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				br := bufio.NewReader(c)
				for {
					line, err := br.ReadSlice('\n')
					if err != nil {
						return
					}
					if len(line) == 2 { // the header's end
						if _, err := c.Write(answer); err != nil {
							return
						}
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}
