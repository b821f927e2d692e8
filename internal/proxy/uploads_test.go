package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestUploadReachesComfyUIBeforeItHasEnded(t *testing.T) {
	got := make(chan string)
	f := newFakeComfy(t, func(c net.Conn, _ *bufio.Reader, r *http.Request) bool {
		first := make([]byte, 5)
		io.ReadFull(r.Body, first)
		got <- string(first)
		rest, err := io.ReadAll(r.Body)
		got <- fmt.Sprint(string(rest), err)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		return true
	})
	g := newGate(t, f, Options{})
	for _, c := range []struct{ name, header, first, rest string }{
		{"with a length", "Content-Length: 10", "first", "later"},
		{"chunked", "Transfer-Encoding: chunked", "5\r\nfirst\r\n", "5\r\nlater\r\n0\r\n\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, br := g.dial(t)
			io.WriteString(conn, "POST /upload/image HTTP/1.1\r\nHost: x\r\n"+c.header+"\r\n\r\n"+c.first)
			if s := <-got; s != "first" {
				t.Fatalf("ComfyUI got %q", s)
			}
			io.WriteString(conn, c.rest)
			if s := <-got; s != "later<nil>" {
				t.Errorf("ComfyUI got %q", s)
			}
			if res, body := readAnswer(t, br, false); res.StatusCode != 200 || body != "ok" {
				t.Errorf("got %d %q", res.StatusCode, body)
			}
		})
	}
}

func TestB17TrailersAreNotPassedOn(t *testing.T) {
	trailer := make(chan http.Header, 1)
	f := newFakeComfy(t, func(c net.Conn, _ *bufio.Reader, r *http.Request) bool {
		io.Copy(io.Discard, r.Body)
		trailer <- r.Trailer
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Later\r\n\r\n2\r\nok\r\n0\r\nX-Later: 1\r\n\r\n")
		return true
	})
	g := newGate(t, f, Options{})
	res, body := g.raw(t, "POST /prompt HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\nTrailer: X-User\n\n2\n{}\n0\nX-User: root\n\n")
	if res.StatusCode != 200 || body != "ok" || len(res.Trailer) > 0 {
		t.Errorf("got %d %q, trailer %v", res.StatusCode, body, res.Trailer)
	}
	if got := <-trailer; len(got) > 0 || hasHeader(f.only(t), "Trailer") {
		t.Errorf("ComfyUI got trailer %v:\n%s", got, f.only(t))
	}
}

func TestRefusedUploadIsToldBeforeItHasEnded(t *testing.T) {
	f := newFakeComfy(t, func(c net.Conn, _ *bufio.Reader, r *http.Request) bool {
		io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		return false
	})
	g := newGate(t, f, Options{})
	c, br := g.dial(t)
	io.WriteString(c, "POST /upload/image HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nbegin")
	if res, _ := readAnswer(t, br, false); res.StatusCode != 413 {
		t.Errorf("status %d, want 413", res.StatusCode)
	}
}

func TestUploadThatStandsStillIsEnded(t *testing.T) {
	f := newFakeComfy(t, nil)
	g := newGate(t, f, Options{Times: Times{Body: 50 * time.Millisecond}})
	c, br := g.dial(t)
	io.WriteString(c, "POST /upload/image HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nbegin")
	res, body := readAnswer(t, br, false)
	if res.StatusCode != 408 || !strings.Contains(body, "stood still") || !res.Close {
		t.Errorf("got %d %q, close %v", res.StatusCode, body, res.Close)
	}
}

// An upload may take longer than any of its reads, and ComfyUI longer to
// answer than a body may stand still.
func TestSlowUploadAndSlowAnswerAreNotCut(t *testing.T) {
	const idle = 400 * time.Millisecond
	f := newFakeComfy(t, func(c net.Conn, _ *bufio.Reader, r *http.Request) bool {
		body, err := io.ReadAll(r.Body)
		time.Sleep(2 * idle)
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n%02d%5v", len(body), err)
		return true
	})
	g := newGate(t, f, Options{Times: Times{Body: idle}})
	c, br := g.dial(t)
	io.WriteString(c, "POST /upload/image HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\n")
	for range 12 {
		time.Sleep(idle / 8)
		io.WriteString(c, "x")
	}
	if res, body := readAnswer(t, br, false); res.StatusCode != 200 || body != "12<nil>" {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
	// The connection is as good as new.
	io.WriteString(c, "POST /upload/image HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
	if res, body := readAnswer(t, br, false); res.StatusCode != 200 || body != "01<nil>" {
		t.Errorf("the next one got %d %q", res.StatusCode, body)
	}
}

func TestUploadThatBreaksOffIsNotWholeForComfyUI(t *testing.T) {
	for name, request := range map[string]string{
		"with a length": "Content-Length: 10\r\n\r\nfirst",
		"chunked":       "Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			read := make(chan error, 1)
			f := newFakeComfy(t, func(c net.Conn, _ *bufio.Reader, r *http.Request) bool {
				_, err := io.ReadAll(r.Body)
				read <- err
				return false
			})
			g := newGate(t, f, Options{})
			c, _ := g.dial(t)
			io.WriteString(c, "POST /upload/image HTTP/1.1\r\nHost: x\r\n"+request)
			eventually(t, "ComfyUI has it", func() bool { return len(f.seen()) == 1 })
			c.Close()
			if err := <-read; err == nil {
				t.Error("ComfyUI took the upload for whole")
			}
		})
	}
}

func TestTooLargeBodyIs413(t *testing.T) {
	f := newFakeComfy(t, nil)
	g := newGate(t, f, Options{})
	g.srv.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 10)
		g.ServeHTTP(w, r)
	})
	res, _ := g.raw(t, "POST /prompt HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\nb\n12345678901\n0\n\n")
	if res.StatusCode != 413 {
		t.Errorf("status %d, want 413", res.StatusCode)
	}
}

func TestLargeBodiesAreNotHeldInMemory(t *testing.T) {
	const size = 64 << 20
	f := newFakeComfy(t, func(c net.Conn, _ *bufio.Reader, r *http.Request) bool {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", n)
		io.Copy(c, io.LimitReader(zeros{}, n))
		return true
	})
	g := newGate(t, f, Options{})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r, _ := http.NewRequest("POST", g.srv.URL+"/upload/image", io.LimitReader(zeros{}, size))
	r.ContentLength = size
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if n, err := io.Copy(io.Discard, res.Body); n != size || err != nil {
		t.Errorf("got %d bytes back, %v", n, err)
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > size/4 {
		t.Errorf("%d bytes were allocated for %d up and down", grown, size)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
