package proxy

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"
)

func TestRequestEndsWithItsClient(t *testing.T) {
	for name, c := range map[string]struct{ request, answer string }{
		"before the answer": {"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n", ""},
		"within the answer": {"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"},
		"after an upload":   {"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			asked, ended := make(chan bool), make(chan error, 1)
			f := newFakeComfy(t, func(conn net.Conn, br *bufio.Reader, r *http.Request) bool {
				io.Copy(io.Discard, r.Body)
				io.WriteString(conn, c.answer)
				close(asked)
				conn.SetReadDeadline(time.Now().Add(30 * time.Second))
				_, err := br.ReadByte()
				ended <- err
				return false
			})
			g := newGate(t, f, Options{})
			conn, _ := g.dial(t)
			io.WriteString(conn, c.request)
			<-asked
			conn.Close()
			// A reset where a part of the answer had not been read yet.
			if err := <-ended; err != io.EOF && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("ComfyUI's connection got %v, want its end", err)
			}
		})
	}
}

// A client that takes nothing is cut off, so that it cannot hold ComfyUI's
// connection for ever.
func TestClientThatTakesNothingIsCutOff(t *testing.T) {
	ended := make(chan error, 1)
	f := newFakeComfy(t, func(conn net.Conn, _ *bufio.Reader, r *http.Request) bool {
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
		_, err := io.Copy(conn, io.LimitReader(zeros{}, 1000000000))
		ended <- err
		return false
	})
	g := newGate(t, f, Options{Times: Times{Body: 100 * time.Millisecond}})
	c, _ := g.dial(t)
	io.WriteString(c, "GET /view HTTP/1.1\r\nHost: x\r\n\r\n")
	if err := <-ended; err == nil {
		t.Error("ComfyUI sent a gigabyte to nobody")
	}
}
