package upstream

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"
)

// A ComfyUI whose companion node lets only the gate in: every request must be
// signed, the probes too.
func TestEveryRequestIsSigned(t *testing.T) {
	comfy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Comfylatch-Secret") != "it is the gate" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		io.WriteString(w, `{"exec_info": {"queue_remaining": 0}}`)
	}))
	defer comfy.Close()
	u, err := url.Parse(comfy.URL)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Options{URL: u, ProbeEvery: 10 * time.Millisecond, Sign: func(h http.Header) { h.Set("Comfylatch-Secret", "it is the gate") }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	defer func() { cancel(); <-done }()
	for end := time.Now().Add(20 * time.Second); s.State() != Up; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the probes are refused")
		}
	}
	res, err := s.RoundTrip(&http.Request{Method: "GET", URL: &url.URL{Opaque: "/queue"}, ProtoMajor: 1, ProtoMinor: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("a request: %d, want 200", res.StatusCode)
	}
}
