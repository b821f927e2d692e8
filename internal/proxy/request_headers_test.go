package proxy

import (
	"strings"
	"testing"
)

func TestOnlyListedHeadersGoUpstream(t *testing.T) {
	f := newFakeComfy(t, nil)
	g := newGate(t, f, Options{})
	g.raw(t, `GET /queue HTTP/1.1
Host: public.example:8189
Accept: application/json
Accept: text/html
Accept-Encoding: gzip, zstd
Accept-Language: de
Cache-Control: no-cache
Range: bytes=0-1
If-None-Match: "x"
User-Agent: test/1
Comfy-Usage-Source: ui
Sec-Fetch-Dest: image
Sec-Fetch-Site: cross-site
Sec-Fetch-Mode: cors
Sec-Fetch-User: ?1
Origin: http://evil.example
Referer: http://evil.example/
Comfy-User: victim
Comfy_User: victim
Authorization: Bearer secret
X-API-Key: secret
X-Forwarded-User: admin
X_Forwarded_User: admin
X-Forwarded-For: 1.2.3.4
X-Forwarded-Uri: /public
X-Original-URL: /public
X-Rewrite-URL: /public
X-Real-IP: 1.2.3.4
X-HTTP-Method-Override: DELETE
Remote-User: admin
Forwarded: for=1.2.3.4
Content_Type: text/plain
Content.Length: 5
Accept.Encoding: x
TE: trailers
Trailer: X-User
Expect: 100-continue
Keep-Alive: timeout=5
Proxy-Connection: keep-alive
Proxy-Authorization: Basic x
Via: 1.1 x
Idempotency-Key: x
X-Test-Who: ann

`)
	head := f.only(t)
	want := map[string]bool{
		"Host: " + f.Addr().String(): true, "Accept: application/json, text/html": true, "Accept-Encoding: gzip, zstd": true,
		"Accept-Language: de": true, "Cache-Control: no-cache": true, "Range: bytes=0-1": true, `If-None-Match: "x"`: true,
		"User-Agent: test/1": true, "Comfy-Usage-Source: ui": true, "Sec-Fetch-Dest: image": true,
	}
	lines := strings.Split(head, "\r\n")
	if lines[0] != "GET /queue HTTP/1.1" {
		t.Errorf("request line %q", lines[0])
	}
	for _, line := range lines[1:] {
		if !want[line] {
			t.Errorf("ComfyUI got %q", line)
		}
		delete(want, line)
	}
	for line := range want {
		t.Errorf("ComfyUI did not get %q", line)
	}
}

func TestNoUserAgentIsAdded(t *testing.T) {
	f := newFakeComfy(t, nil)
	newGate(t, f, Options{}).raw(t, "GET /queue HTTP/1.1\nHost: x\n\n")
	if hasHeader(f.only(t), "User-Agent") {
		t.Errorf("a User-Agent was added:\n%s", f.only(t))
	}
}

func TestHeadersThatCanBeReadInTwoWays(t *testing.T) {
	for name, headers := range map[string]string{
		"Content-Type twice":           "Content-Type: application/json\nContent-Type: text/plain\n",
		"Range twice":                  "Range: bytes=0-1\nRange: bytes=5-6\n",
		"B6 Connection takes one away": "Content-Type: text/plain\nConnection: close, content-TYPE\n",
		"B6 Connection and Cookie":     "Cookie: a=b\nConnection: Cookie\n",
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeComfy(t, nil)
			g := newGate(t, f, Options{})
			res, _ := g.raw(t, "POST /prompt HTTP/1.1\nHost: x\n"+headers+"Content-Length: 2\n\n{}")
			if res.StatusCode != 400 || len(f.seen()) != 0 {
				t.Errorf("status %d, ComfyUI saw %q", res.StatusCode, f.seen())
			}
		})
	}
}

func TestB6ConnectionCannotTakeAwayWhatIsOurs(t *testing.T) {
	for _, named := range []string{"X-Forwarded-User, Host", "host, content-length", "Transfer-Encoding"} {
		t.Run(named, func(t *testing.T) {
			f := newFakeComfy(t, nil)
			g := newGate(t, f, Options{})
			res, _ := g.raw(t, "POST /prompt HTTP/1.1\nHost: x\nConnection: close, "+named+"\nContent-Length: 2\n\n{}")
			if res.StatusCode != 200 {
				t.Fatalf("status %d", res.StatusCode)
			}
			wantHeader(t, f.only(t), "Host: "+f.Addr().String())
			wantHeader(t, f.only(t), "Content-Length: 2")
			if hasHeader(f.only(t), "Connection") {
				t.Errorf("Connection was passed on:\n%s", f.only(t))
			}
		})
	}
}

func TestB16OurCookiesStayHereOthersGoByteForByte(t *testing.T) {
	ours := func(name string) bool { return name == "__Host-latch" }
	for _, c := range []struct {
		name  string
		lines []string
		want  string
	}{
		{"none", nil, ""},
		{"only others", []string{`a=1;b="x, y";  c==; d`}, `a=1;b="x, y";  c==; d`},
		{"only ours", []string{"__Host-latch=secret"}, ""},
		{"ours first", []string{"__Host-latch=secret; a=1; b=2"}, "a=1; b=2"},
		{"ours last", []string{"a=1; b=2; __Host-latch=secret"}, "a=1; b=2"},
		{"ours twice, odd spaces", []string{"__Host-latch=1;a=1;  b=2 ;\t__Host-latch = 2;c=3"}, "a=1;  b=2 ;c=3"},
		{"a value that looks like ours", []string{"a=__Host-latch=1"}, "a=__Host-latch=1"},
		{"a name that begins like ours", []string{"__Host-latch2=1; x__Host-latch=1"}, "__Host-latch2=1; x__Host-latch=1"},
		{"several lines", []string{"a=1", "__Host-latch=secret", "b=2; c=3"}, "a=1; b=2; c=3"},
		{"ours without a value", []string{"__Host-latch; a=1"}, "a=1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := otherCookies(c.lines, ours); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestA15TargetGoesByteForByte(t *testing.T) {
	for _, target := range []string{
		"/api/userdata/workflows%2Fa%20b.json",
		"/userdata/workflows%2F%E4%BD%A0.json?overwrite=false&full_info=true",
		"/view?filename=a.png&preview=webp;90&rand=0.1",
		"/view?filename=a+b%2Bc.png&x=%2f&x=%2F&y",
		"/",
	} {
		t.Run(target, func(t *testing.T) {
			f := newFakeComfy(t, nil)
			res, body := newGate(t, f, Options{}).raw(t, "GET "+target+" HTTP/1.1\nHost: x\n\n")
			if res.StatusCode != 200 || body != "ok" {
				t.Fatalf("status %d, %q", res.StatusCode, body)
			}
			if line, _, _ := strings.Cut(f.only(t), "\r\n"); line != "GET "+target+" HTTP/1.1" {
				t.Errorf("ComfyUI saw %q", line)
			}
		})
	}
}
