package proxy

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"comfylatch/internal/upstream"
)

// BenchmarkForward compares a small answer through the proxy with the same
// without it.
func BenchmarkForward(b *testing.B) {
	comfyUI := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"exec_info": {"queue_remaining": 0}}`)
	}))
	defer comfyUI.Close()
	u, err := url.Parse(comfyUI.URL)
	if err != nil {
		b.Fatal(err)
	}
	up, err := upstream.New(upstream.Options{URL: u})
	if err != nil {
		b.Fatal(err)
	}
	defer up.Close()
	front := httptest.NewServer(&gate{Proxy: New(Options{Upstream: up})})
	defer front.Close()
	for _, c := range []struct{ name, address string }{{"direct", comfyUI.URL}, {"proxy", front.URL}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				client := &http.Client{Transport: &http.Transport{}}
				defer client.CloseIdleConnections()
				for pb.Next() {
					res, err := client.Get(c.address + "/prompt")
					if err != nil {
						b.Error(err)
						return
					}
					io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
			})
		})
	}
}
