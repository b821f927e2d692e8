package standin

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// call sends a request and returns status and body.
func (l live) call(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, l.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

// prompt queues a graph and returns its id.
func (l live) prompt(t *testing.T, graph string, more ...string) string {
	t.Helper()
	status, body := l.call(t, "POST", "/prompt", `{"prompt":`+graph+strings.Join(append([]string{""}, more...), ",")+`}`)
	var a struct {
		ID string `json:"prompt_id"`
	}
	if err := json.Unmarshal([]byte(body), &a); err != nil || status != http.StatusOK {
		t.Fatalf("POST /prompt: %d %s", status, body)
	}
	return a.ID
}

// entry waits for a prompt to end and returns its entry in the history.
func (l live) entry(t *testing.T, id string) *object {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if it := l.queue.finished(id); it != nil {
			return it.entry
		}
	}
	t.Fatalf("prompt %s did not end", id)
	return nil
}

// waitRunning waits until a prompt is the current one.
func (l live) waitRunning(t *testing.T, id string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if r, _ := l.queue.lists(); len(r) == 1 && r[0].id == id && len(r) > 0 {
			if _, started := l.queue.lastNode(r[0].client.sid); started || !r[0].client.given {
				return
			}
		}
	}
	t.Fatalf("prompt %s does not run", id)
}

// paint is a graph that ends in one saved picture of a colour.
func paint(color int) string {
	return fmt.Sprintf(`{"1":{"class_type":"EmptyImage","inputs":{"width":16,"height":8,"batch_size":1,"color":%d}},
		"2":{"class_type":"SaveImage","inputs":{"images":["1",0],"filename_prefix":"t"}}}`, color)
}

// slow is a graph that takes steps × ms and shows a picture.
func slow(steps, ms int) string {
	return fmt.Sprintf(`{"1":{"class_type":"EmptyImage","inputs":{"width":16,"height":8,"batch_size":1,"color":%d}},
		"2":{"class_type":"LatchSlowImage","inputs":{"image":["1",0],"steps":%d,"step_ms":%d}},
		"3":{"class_type":"PreviewImage","inputs":{"images":["2",0]}}}`, steps*1000+ms, steps, ms)
}

// ear is a socket whose frames are kept as short descriptions.
type ear struct {
	conn *websocket.Conn
	got  chan string
}

// listenAs connects with a client id and reads the greeting.
func (l live) listenAs(t *testing.T, sid string, flags ...string) *ear {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	c, _, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(l.URL, "http")+"/ws?clientId="+sid, nil)
	if err != nil {
		t.Fatal(err)
	}
	e := &ear{conn: c, got: make(chan string, 1000)}
	go func() {
		defer close(e.got)
		for {
			kind, b, err := c.Read(ctx)
			if err != nil {
				return
			}
			if kind == websocket.MessageBinary {
				e.got <- fmt.Sprintf("binary %d", b[3])
				continue
			}
			var m struct {
				Type string
				Data struct {
					Node any
					SID  string
				}
			}
			_ = json.Unmarshal(b, &m)
			if m.Type == "executing" && m.Data.Node == nil {
				m.Type = "end"
			}
			e.got <- strings.TrimSpace(m.Type + " " + m.Data.SID)
		}
	}()
	t.Cleanup(func() { c.CloseNow() })
	if got := <-e.got; got != "status "+sid && sid != "" {
		t.Fatalf("greeted with %q, want the status with the client's own id", got)
	}
	for _, f := range flags {
		if err := c.Write(ctx, websocket.MessageText, []byte(f)); err != nil {
			t.Fatal(err)
		}
		if got := <-e.got; got != "feature_flags" {
			t.Fatalf("the flags were answered with %q", got)
		}
	}
	return e
}

// heard returns what has come in until it has been quiet for a moment.
func (e *ear) heard() (all []string) {
	for {
		select {
		case s, open := <-e.got:
			if !open {
				return append(all, "closed")
			}
			all = append(all, s)
		case <-time.After(150 * time.Millisecond):
			return all
		}
	}
}

func has(all []string, want string) bool {
	for _, s := range all {
		if s == want {
			return true
		}
	}
	return false
}

// newRequest is httptest.NewRequest without its panic.
func newRequest(method, target, body string) (*http.Request, error) {
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", method, target, len(body), body))))
	return r, err
}
