package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"comfylatch/internal/standin"
	"comfylatch/internal/upstream"

	"github.com/coder/websocket"
)

// newStandInGate is a gate in front of a ComfyUI that really computes.
func newStandInGate(t *testing.T) *gate {
	t.Helper()
	s, err := standin.New(standin.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { s.Run(ctx) })
	ts := httptest.NewServer(s)
	t.Cleanup(func() { cancel(); wg.Wait(); ts.CloseClientConnections(); ts.Close(); s.Close() })
	u, err := url.Parse(ts.URL)
	if err != nil {
		t.Fatal(err)
	}
	up, err := upstream.New(upstream.Options{URL: u})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(up.Close)
	if err := up.Identify(t.Context()); err != nil {
		t.Fatal(err)
	}
	return newGate(t, nil, Options{Upstream: up})
}

func (g *gate) do(t *testing.T, method, target, contentType string, body io.Reader) (int, []byte) {
	t.Helper()
	r, err := http.NewRequest(method, g.srv.URL+target, body)
	if err != nil {
		t.Fatal(err)
	}
	// A browser behind a public name sends these; ComfyUI would answer 403.
	r.Header.Set("Origin", "https://comfy.example")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, b
}

// runPrompt queues a picture and waits for the end on a fresh socket. It gives
// the kinds of the events that came.
func (g *gate) runPrompt(t *testing.T, c *websocket.Conn, clientID string, colour int) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	// ComfyUI knows the client when it has sent the first status, not before.
	if _, first, err := c.Read(ctx); err != nil || !strings.Contains(string(first), `"status"`) {
		t.Fatalf("first came %s, %v", first, err)
	}
	prompt := fmt.Sprintf(`{"client_id":%q,"prompt":{
		"1":{"class_type":"EmptyImage","inputs":{"width":8,"height":8,"batch_size":1,"color":%d}},
		"2":{"class_type":"SaveImage","inputs":{"images":["1",0],"filename_prefix":"x"}}}}`, clientID, colour)
	status, body := g.do(t, "POST", "/api/prompt", "application/json", strings.NewReader(prompt))
	if status != 200 {
		t.Fatalf("prompt: %d %s", status, body)
	}
	kinds := []string{"status"}
	for {
		kind, data, err := c.Read(ctx)
		if err != nil {
			t.Fatalf("after %v: %v", kinds, err)
		}
		var event struct {
			Type string
			Data struct{ Node *string }
		}
		if kind != websocket.MessageText || json.Unmarshal(data, &event) != nil {
			continue
		}
		kinds = append(kinds, event.Type)
		if event.Type == "execution_success" {
			return strings.Join(kinds, " ")
		}
	}
}

func TestPictureThroughTheGate(t *testing.T) {
	g := newStandInGate(t)
	c := g.socket(t, "/ws?clientId=a", "ann")
	kinds := g.runPrompt(t, c, "a", 1)
	for _, want := range []string{"status", "execution_start", "executing", "executed", "execution_success"} {
		if !strings.Contains(kinds, want) {
			t.Errorf("no %q among %s", want, kinds)
		}
	}
	status, body := g.do(t, "GET", "/view?filename=x_00001_.png&type=output&preview=webp;90", "", nil)
	if status != 200 || len(body) == 0 {
		t.Errorf("picture: %d, %d bytes", status, len(body))
	}
	if status, body := g.do(t, "HEAD", "/view?filename=x_00001_.png&type=output", "", nil); status != 200 || len(body) != 0 {
		t.Errorf("HEAD: %d, %d bytes", status, len(body))
	}
}

func TestReconnectingWithTheSameClientIDGetsItsEvents(t *testing.T) {
	g := newStandInGate(t)
	for i := range 5 {
		c := g.socket(t, "/ws?clientId=a", "ann") // the one before is still open
		if kinds := g.runPrompt(t, c, "a", i+1); !strings.Contains(kinds, "executed") {
			t.Errorf("time %d: %s", i, kinds)
		}
	}
}

func TestA15NamesWithSlashesThroughTheGate(t *testing.T) {
	g := newStandInGate(t)
	const target = "/api/userdata/workflows%2Fmy%20graph%20%C3%A4.json"
	if status, body := g.do(t, "POST", target, "application/json", strings.NewReader(`{"a":1}`)); status != 200 {
		t.Fatalf("save: %d %s", status, body)
	}
	if status, body := g.do(t, "GET", target, "", nil); status != 200 || string(body) != `{"a":1}` {
		t.Errorf("load: %d %s", status, body)
	}
	if status, body := g.do(t, "GET", "/userdata?dir=workflows", "", nil); status != 200 || !strings.Contains(string(body), `my graph \u00e4.json`) {
		t.Errorf("list: %d %s", status, body)
	}
	if status, _ := g.do(t, "DELETE", target, "", nil); status != 204 {
		t.Errorf("delete: %d", status)
	}
}

func TestUploadThroughTheGate(t *testing.T) {
	g := newStandInGate(t)
	var form bytes.Buffer
	m := multipart.NewWriter(&form)
	part, err := m.CreateFormFile("image", "big.png")
	if err != nil {
		t.Fatal(err)
	}
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MB
	part.Write(content)
	m.Close()
	// Of unknown length, so that it goes in chunks.
	status, body := g.do(t, "POST", "/upload/image", m.FormDataContentType(), io.MultiReader(&form))
	if status != 200 || !strings.Contains(string(body), `"big.png"`) {
		t.Fatalf("upload: %d %s", status, body)
	}
	if status, body := g.do(t, "GET", "/view?filename=big.png&type=input", "", nil); status != 200 || !bytes.Equal(body, content) {
		t.Errorf("download: %d, %d bytes", status, len(body))
	}
}
