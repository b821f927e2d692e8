package server

import (
	"net/http"
	"strings"
	"testing"
)

func TestWhatNeedsACredentialIsKeptByNoSharedCache(t *testing.T) {
	for in, want := range map[string]string{
		"": "private", "public, max-age=86400": "private, max-age=86400", "no-cache": "private, no-cache", "private, no-cache": "private, no-cache",
		"PUBLIC": "private", "max-age=5, s-maxage=9": "private, max-age=5", "no-store, must-revalidate": "no-store, must-revalidate", ",,": "private",
	} {
		h := http.Header{}
		if in != "" {
			h.Set("Cache-Control", in)
		}
		if keepPrivate(h); h.Get("Cache-Control") != want {
			t.Errorf("%q becomes %q, want %q", in, h.Get("Cache-Control"), want)
		}
	}
	h := newHouse(t, nil)
	h.setUp()
	h.do("POST", "/userdata/a.png", "x", bearer)
	h.put("output/a.png", "x")
	for _, target := range []string{"/userdata/a.png", "/view?filename=a.png&type=output", "/queue", "/history", "/object_info/EmptyImage", "/", "/api/extensions", "/system_stats"} {
		for _, headers := range [][]string{{bearer}, nil} {
			got := h.get(target, headers...)
			if c := got.header.Get("Cache-Control"); strings.Contains(c, "public") || !strings.Contains(c, "private") && !strings.Contains(c, "no-store") {
				t.Errorf("%s with %v: Cache-Control is %q", target, headers, c)
			}
		}
	}
	for _, target := range []string{"/queue", "/login", "/view?filename=a.png", "/nowhere", "/health"} {
		got := h.get(target)
		if got.header.Get("X-Content-Type-Options") != "nosniff" || got.header.Get("Referrer-Policy") == "" {
			t.Errorf("%s lacks nosniff or a referrer policy: %v", target, got.header)
		}
	}
	if p := h.get("/login").header.Get("Content-Security-Policy"); !strings.Contains(p, "frame-ancestors") {
		t.Errorf("the login page may be framed: %q", p)
	}
}

func TestAFileWithAQueryIsNotKept(t *testing.T) {
	h := newHouse(t, nil)
	h.setUp()
	h.comfy.ForgetRequests()
	for range 3 {
		h.get("/assets/nothing.js?x=1")
		h.get("/extensions/core/nothing.js?x=1", bearer)
	}
	if n := len(h.sent()); n != 6 {
		t.Errorf("ComfyUI was asked %d times, want 6: what has a query is passed on", n)
	}
}
