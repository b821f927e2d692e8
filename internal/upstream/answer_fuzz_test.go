package upstream

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

// given is a connection on which these bytes come, a few at a time.
type given struct {
	net.Conn
	io.Reader
	step int
}

func (g *given) Read(p []byte) (int, error) { return g.Reader.Read(p[:min(len(p), g.step)]) }
func (g *given) Close() error               { return nil }

// readAnswer reads bytes as the answer to a request. whole tells that the body
// came to its end.
func readAnswer(raw []byte, method string, step int) (x *exchange, body []byte, whole bool, err error) {
	x = &exchange{pool: new(pool), ctx: context.Background(), c: newConn(&given{Reader: bytes.NewReader(raw), step: step})}
	if err := x.answer(method); err != nil {
		return x, nil, false, err
	}
	body, err = io.ReadAll(x)
	return x, body, err == nil, nil
}

var strangeAnswers = []struct{ name, raw string }{
	{"folded header", "HTTP/1.1 200 OK\r\nA: 1\r\n 2\r\nContent-Length: 2\r\n\r\nok"},
	{"both framings", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"},
	{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"},
	{"two lengths in one", "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok"},
	{"length with a sign", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok"},
	{"bare CR", "HTTP/1.1 200 OK\r\nA: 1\rContent-Length: 9\r\nContent-Length: 2\r\n\r\nok"},
	{"bare LF", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok\r\n\r\n"},
	{"NUL", "HTTP/1.1 200 OK\r\nA: \x00\r\nContent-Length: 2\r\n\r\nok"},
	{"space before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok"},
	{"two encodings", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"},
	{"chunks of HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	{"HTTP/2.0", "HTTP/2.0 200 OK\r\n\r\n"},
	{"status with a sign", "HTTP/1.1 +20 OK\r\n\r\n"},
	{"101 unasked for", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"},
	{"early answers without end", strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 50)},
}

func TestStrangeAnswersAreRefused(t *testing.T) {
	for _, c := range strangeAnswers {
		t.Run(c.name, func(t *testing.T) {
			if x, body, _, err := readAnswer([]byte(c.raw), "GET", 1000); err == nil {
				t.Errorf("it was read as %d %v %q", x.StatusCode, x.Header, body)
			}
		})
	}
}

var strangeBodies = []struct{ name, chunks string }{
	{"0x", "0x2\r\nok\r\n0\r\n\r\n"}, {"_", "0_2\r\nok\r\n0\r\n\r\n"}, {"sign", "+2\r\nok\r\n0\r\n\r\n"}, {"no size", "\r\nok\r\n0\r\n\r\n"},
	{"bare LF", "2\nok\n0\n\n"}, {"bare LF after the data", "2\r\nok\n0\r\n\r\n"}, {"too long", "2\r\nokay\r\n0\r\n\r\n"},
	{"too large", "ffffffffffffffff\r\nok\r\n0\r\n\r\n"}, {"space", "2 \r\nok\r\n0\r\n\r\n"}, {"no end", "2\r\nok\r\n"}, {"half an end", "2\r\nok\r\n0\r\n"},
	{"long extension", "2;" + strings.Repeat("x", 9000) + "\r\nok\r\n0\r\n\r\n"}, {"many trailers", "0\r\n" + strings.Repeat("A: 1\r\n", 1000) + "\r\n"},
}

func TestStrangeChunksAreNoWholeBody(t *testing.T) {
	for _, c := range strangeBodies {
		t.Run(c.name, func(t *testing.T) {
			_, body, whole, err := readAnswer([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+c.chunks), "GET", 1000)
			if err != nil || whole {
				t.Errorf("error %v, whole %v, body %q", err, whole, body)
			}
		})
	}
}

// FuzzAnswer holds that whatever is taken for an answer is the same answer to
// net/http, and that it reads the same however it is cut.
func FuzzAnswer(f *testing.F) {
	for _, c := range strangeAnswers {
		f.Add([]byte(c.raw), false, 1)
	}
	for _, c := range strangeBodies {
		f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+c.chunks), false, 2)
	}
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 42\r\n\r\n"), true, 9)
	f.Add([]byte("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 7\r\n\r\n"), false, 3)
	f.Add([]byte("HTTP/1.0 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\nuntil the end"), false, 5)
	f.Add([]byte("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nfirst\r\n0\r\nA: 1\r\n\r\nmore"), false, 7)
	f.Fuzz(func(t *testing.T, raw []byte, head bool, step int) {
		method := "GET"
		if head {
			method = "HEAD"
		}
		x, body, whole, err := readAnswer(raw, method, 1<<20)
		y, again, wholeAgain, errAgain := readAnswer(raw, method, 1+(step&0xff))
		if (err == nil) != (errAgain == nil) || whole != wholeAgain || !bytes.Equal(body, again) || !reflect.DeepEqual(x.Header, y.Header) {
			t.Fatalf("cut differently: %v %v %q, %v %v %q", err, whole, body, errAgain, wholeAgain, again)
		}
		if err != nil {
			return
		}
		br := bufio.NewReaderSize(bytes.NewReader(raw), 1<<20)
		want, err := http.ReadResponse(br, &http.Request{Method: method})
		for err == nil && want.StatusCode < 200 {
			want, err = http.ReadResponse(br, &http.Request{Method: method})
		}
		if err != nil {
			t.Fatalf("net/http refuses it: %v", err)
		}
		wantBody, err := io.ReadAll(want.Body)
		want.Header.Del("Trailer")
		x.Header.Del("Trailer")
		if want.StatusCode != x.StatusCode || !sameHeader(want.Header, x.Header) || want.ContentLength != x.ContentLength && !head {
			t.Fatalf("got %d %v %d, net/http %d %v %d", x.StatusCode, x.Header, x.ContentLength, want.StatusCode, want.Header, want.ContentLength)
		}
		if whole && (err != nil || !bytes.Equal(body, wantBody)) {
			t.Fatalf("got %q, net/http %q, %v", body, wantBody, err)
		}
		if want.Close && !x.Response.Close {
			t.Fatal("net/http would not use the connection again")
		}
	})
}

// sameHeader compares but for Connection, of which net/http takes away "close".
func sameHeader(a, b http.Header) bool {
	a, b = a.Clone(), b.Clone()
	for _, h := range []http.Header{a, b} {
		delete(h, "Connection")
	}
	return reflect.DeepEqual(a, b)
}
