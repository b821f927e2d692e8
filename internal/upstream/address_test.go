package upstream

import (
	"net/url"
	"strings"
	"testing"
)

func TestAddress(t *testing.T) {
	for _, c := range []struct{ in, address, host, err string }{
		{"http://127.0.0.1:8188", "127.0.0.1:8188", "127.0.0.1:8188", ""},
		{"http://127.0.0.1:8188/", "127.0.0.1:8188", "127.0.0.1:8188", ""},
		{"http://gpu", "gpu:80", "gpu", ""},
		{"https://gpu", "gpu:443", "gpu", ""},
		{"http://[::1]:8188", "[::1]:8188", "[::1]:8188", ""},
		{"unix:///run/comfy.sock", "/run/comfy.sock", "localhost", ""},
		{"http://127.0.0.1:8188/comfy", "", "", "path"},
		{"http://me:secret@127.0.0.1:8188", "", "", "only scheme, host and port"},
		{"http://127.0.0.1:8188?x", "", "", "only scheme, host and port"},
		{"ftp://127.0.0.1", "", "", "scheme"},
		{"127.0.0.1", "", "", "scheme"},
		{"http://", "", "", "host is missing"},
		{"http://:8188", "", "", "host is missing"},
		{"unix:relative", "", "", "unix:///path"},
	} {
		t.Run(c.in, func(t *testing.T) {
			u, err := url.Parse(c.in)
			if err != nil {
				t.Fatal(err)
			}
			s, err := New(Options{URL: u})
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error is %v, want one with %q", err, c.err)
				}
				if strings.Contains(err.Error(), "secret") {
					t.Fatalf("the error shows a password: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if s.address != c.address || s.Host() != c.host {
				t.Errorf("got %q and Host %q, want %q and %q", s.address, s.Host(), c.address, c.host)
			}
		})
	}
}

func TestNoAddress(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("a Server without an address was made")
	}
}
