package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"comfylatch/internal/account"
	"comfylatch/internal/comfy"
)

// answering is a ComfyUI that gives these bytes for each request and then
// ends the connection.
func answering(t *testing.T, answer string) *fakeComfy {
	return newFakeComfy(t, func(c net.Conn, _ *bufio.Reader, r *http.Request) bool {
		io.Copy(io.Discard, r.Body)
		io.WriteString(c, crlf(answer))
		return false
	})
}

func TestHeadersOfAnswers(t *testing.T) {
	f := answering(t, `HTTP/1.1 200 OK
Server: Python/3.11 aiohttp/3.9
Content-Type: application/json
Connection: keep-alive, X-Private
X-Private: 1
Keep-Alive: timeout=5
Upgrade: h2c
Trailer: X-Later
Proxy-Authenticate: Basic
Access-Control-Allow-Origin: *
Access-Control-Allow-Credentials: true
ETag: "x"
X-Own: theirs
Set-Cookie: a=1; Path=/
Set-Cookie: latch=evil; Path=/
Set-Cookie:  __Host-latch =evil
Set-Cookie: =__Host-latch=evil
Set-Cookie: __Host-latch
Set-Cookie: b=latch=2
Content-Length: 2

{}`)
	g := newGate(t, f, Options{Adjust: func(req *comfy.Request, who account.Principal, status int, h http.Header) {
		if req.Path() != "/queue" || who.Name != "ann" || status != 200 {
			t.Errorf("adjusting %s for %s with %d", req.Path(), who.Name, status)
		}
		h.Set("X-Own", "ours")
	}})
	res, body := g.raw(t, "GET /queue HTTP/1.1\nHost: x\n\n")
	if res.StatusCode != 200 || body != "{}" {
		t.Fatalf("got %d %q", res.StatusCode, body)
	}
	for name, want := range map[string][]string{
		"Server": {"Python/3.11 aiohttp/3.9"}, "Etag": {`"x"`}, "Content-Type": {"application/json"},
		"X-Own": {"ours"}, "Set-Cookie": {"a=1; Path=/", "b=latch=2"}, "Content-Length": {"2"},
		"X-Private": nil, "Keep-Alive": nil, "Upgrade": nil, "Trailer": nil, "Proxy-Authenticate": nil,
		"Access-Control-Allow-Origin": nil, "Access-Control-Allow-Credentials": nil, "Connection": nil,
	} {
		if got := res.Header[name]; !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestHeadersThatTheGateHasSetStay(t *testing.T) {
	f := answering(t, "HTTP/1.1 200 OK\nX-Content-Type-Options: off\nSet-Cookie: b=2\nContent-Length: 0\n\n")
	g := newGate(t, f, Options{})
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Set-Cookie", "latch=renewed")
		g.ServeHTTP(w, r)
	})
	g.srv.Config.Handler = h
	res, _ := g.raw(t, "GET /queue HTTP/1.1\nHost: x\n\n")
	if got := res.Header["X-Content-Type-Options"]; !slices.Equal(got, []string{"nosniff"}) {
		t.Errorf("X-Content-Type-Options %q", got)
	}
	if got := res.Header["Set-Cookie"]; !slices.Equal(got, []string{"latch=renewed", "b=2"}) {
		t.Errorf("Set-Cookie %q", got)
	}
}

func TestAnswersWithoutABody(t *testing.T) {
	for _, c := range []struct {
		name, method, answer, length string
		status                       int
	}{
		{"HEAD", "HEAD", "HTTP/1.1 200 OK\nContent-Length: 42\n\n", "42", 200},
		{"HEAD, chunked", "HEAD", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n", "", 200},
		{"204", "DELETE", "HTTP/1.1 204 No Content\n\n", "", 204},
		{"304", "GET", "HTTP/1.1 304 Not Modified\nETag: \"x\"\nContent-Length: 7\n\n", "", 304},
		{"empty 200", "GET", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", "0", 200},
		{"early hints first", "GET", "HTTP/1.1 103 Early Hints\nLink: </x>\n\nHTTP/1.1 200 OK\nContent-Length: 0\n\n", "0", 200},
		{"continue first", "GET", "HTTP/1.1 100 Continue\n\nHTTP/1.1 200 OK\nContent-Length: 0\n\n", "0", 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGate(t, answering(t, c.answer), Options{})
			conn, br := g.dial(t)
			io.WriteString(conn, c.method+" /userdata/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			res, body := readAnswer(t, br, c.method == "HEAD")
			if res.StatusCode != c.status || body != "" || res.Header.Get("Content-Length") != c.length {
				t.Errorf("got %d, %q, Content-Length %q", res.StatusCode, body, res.Header.Get("Content-Length"))
			}
			if rest, _ := io.ReadAll(br); len(rest) > 0 {
				t.Errorf("there is more: %q", rest)
			}
		})
	}
}

func TestNoContentTypeIsGuessed(t *testing.T) {
	g := newGate(t, answering(t, "HTTP/1.1 200 OK\nContent-Length: 6\n\n<html>"), Options{})
	if res, _ := g.raw(t, "GET /view HTTP/1.1\nHost: x\n\n"); len(res.Header["Content-Type"]) != 0 {
		t.Errorf("Content-Type %q", res.Header["Content-Type"])
	}
}

// A cut answer must not look like a whole one.
func TestCutAnswerIsSeenAsCut(t *testing.T) {
	for name, answer := range map[string]string{
		"Content-Length too large": "HTTP/1.1 200 OK\nContent-Length: 100\n\nonly this",
		"chunks without an end":    "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n4\nonly\n",
		"a broken chunk":           "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n4\nonly\n0_2e\n",
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, answering(t, answer), Options{})
			c, br := g.dial(t)
			io.WriteString(c, "GET /view HTTP/1.1\r\nHost: x\r\n\r\n")
			res, err := http.ReadResponse(br, nil)
			if err == nil {
				_, err = io.ReadAll(res.Body)
			}
			if err == nil {
				t.Error("the answer looks whole")
			}
		})
	}
}

func TestAnswerLongerThanItsLengthIsCutThere(t *testing.T) {
	g := newGate(t, answering(t, "HTTP/1.1 200 OK\nContent-Length: 2\n\nokHTTP/1.1 200 OK\nContent-Length: 4\n\nevil"), Options{})
	c, br := g.dial(t)
	io.WriteString(c, "GET /queue HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	_, body := readAnswer(t, br, false)
	if rest, _ := io.ReadAll(br); body != "ok" || len(rest) > 0 {
		t.Errorf("got %q and then %q", body, rest)
	}
}

func TestOddAnswersAreBadGateway(t *testing.T) {
	for name, answer := range map[string]string{
		"not HTTP":            "SSH-2.0-x\n",
		"nothing":             "",
		"101 unasked for":     "HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\nConnection: Upgrade\n\n",
		"a status too high":   "HTTP/1.1 999 Odd\nContent-Length: 0\n\n",
		"two lengths":         "HTTP/1.1 200 OK\nContent-Length: 1\nContent-Length: 2\n\nok",
		"headers without end": "HTTP/1.1 200 OK\nX-Long: " + strings.Repeat("x", 1<<20) + "\n\n",
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, answering(t, answer), Options{})
			res, body := g.raw(t, "POST /prompt HTTP/1.1\nHost: x\nContent-Length: 2\n\n{}")
			if res.StatusCode != 502 || !strings.HasPrefix(body, `{"error":"`) {
				t.Errorf("got %d %q", res.StatusCode, body)
			}
			if strings.Contains(body, g.comf.Addr().String()) {
				t.Errorf("the answer shows ComfyUI's address: %q", body)
			}
		})
	}
}

// Events are passed on as they come, although the answer goes on.
func TestStreamIsNotHeldBack(t *testing.T) {
	next := make(chan string)
	f := newFakeComfy(t, func(c net.Conn, _ *bufio.Reader, r *http.Request) bool {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for s := range next {
			io.WriteString(c, "5\r\n"+s+"\r\n")
		}
		io.WriteString(c, "0\r\n\r\n")
		return false
	})
	g := newGate(t, f, Options{})
	c, br := g.dial(t)
	io.WriteString(c, "GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
	next <- "first"
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"first", "later"} {
		got := make([]byte, 5)
		if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != want {
			t.Fatalf("got %q, %v; want %q", got, err, want)
		}
		if want == "first" {
			next <- "later"
		}
	}
	close(next)
	if rest, err := io.ReadAll(res.Body); len(rest) > 0 || err != nil {
		t.Errorf("got %q, %v", rest, err)
	}
}

func TestAnswersDoNotSpeakForTheGate(t *testing.T) {
	dst := http.Header{}
	inHeader(dst, http.Header{
		"Clear-Site-Data": {`"cookies"`}, "Alt-Svc": {`h3=":443"`}, "X-Accel-Redirect": {"/private"}, "X-Accel-Buffering": {"no"}, "X-Sendfile": {"/etc/passwd"},
		"Strict-Transport-Security": {"max-age=0"}, "X-Other": {"stays"},
	}, func(string) bool { return false })
	if len(dst) != 1 || dst.Get("X-Other") != "stays" {
		t.Errorf("what goes on is %v, want X-Other alone", dst)
	}
}
