package standin

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// exchange is one line of a recording: a request with its answer, or a WebSocket transcript.
type exchange struct {
	Name           string
	Method, Path   string
	RequestHeaders map[string]string `json:"request_headers"`
	RequestBody    json.RawMessage   `json:"request_body"`
	Status         int
	Headers        map[string]string
	Body           *string
	BodyBase64     []byte `json:"body_base64"`
	BodyLength     int    `json:"body_length"`
	Sent           []json.RawMessage
	Received       []message
}

// message is one frame of a transcript.
type message struct {
	JSON       json.RawMessage
	BinaryType int    `json:"binary_type"`
	HeadHex    string `json:"head_hex"`
}

func (e exchange) isSocket() bool { return e.Received != nil }

// TestContractStandIn holds both profiles to the recordings of real servers.
func TestContractStandIn(t *testing.T) {
	for _, version := range []string{Version0_3_64, Version0_24_0} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			recording := readRecording(t, version)
			s := start(t, Config{Version: version})
			replay(t, s.URL, recording)
		})
	}
}

// TestContractRealServer holds the recordings themselves to a running ComfyUI: COMFYUI_URL names
// one of your own, freshly started with empty input, output, temp and user folders.
func TestContractRealServer(t *testing.T) {
	base := strings.TrimRight(os.Getenv("COMFYUI_URL"), "/")
	if base == "" {
		t.Skip("COMFYUI_URL is not set")
	}
	var stats struct {
		System struct {
			Version string `json:"comfyui_version"`
		}
	}
	if err := json.Unmarshal(fetch(t, base+"/system_stats"), &stats); err != nil {
		t.Fatalf("ask %s for its version: %v", base, err)
	}
	replay(t, base, readRecording(t, stats.System.Version))
}

func readRecording(t *testing.T, version string) []exchange {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../../shared/comfyui", version+".jsonl"))
	if err != nil {
		t.Skipf("no recording of ComfyUI %s in ../shared/comfyui beside the repository", version)
	}
	var all []exchange
	for d := json.NewDecoder(bytes.NewReader(b)); ; {
		var e exchange
		if err := d.Decode(&e); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatalf("read the recording of %s: %v", version, err)
		}
		all = append(all, e)
	}
}

// live is a stand-in that listens and works.
type live struct {
	*Server
	URL string
}

func start(t *testing.T, cfg Config) live {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	h := httptest.NewServer(s)
	t.Cleanup(func() {
		h.CloseClientConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		h.Close()
	})
	return live{s, h.URL}
}

func fetch(t *testing.T, url string) []byte {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// player replays a recording. Names that the server or chance chose (prompt ids, client ids,
// file names, colours) are translated on the way there and back.
type player struct {
	t    *testing.T
	base string
	to   []string // recorded, live, recorded, live, …
	rand int
}

func replay(t *testing.T, base string, recording []exchange) {
	p := &player{t: t, base: base, rand: int(time.Now().UnixNano() & 0xffffff)}
	p.asRecorded()
	for i, e := range recording {
		act := i+1 < len(recording) && strings.Contains(recording[i+1].Path, "clientId=")
		switch {
		case act: // performed within the transcript that follows
		case e.isSocket():
			t.Run(e.Name, func(t *testing.T) { p.t = t; p.socket(e, recording[i-1]) })
		default:
			t.Run(e.Name, func(t *testing.T) { p.t = t; p.wait(e.Name); p.request(e) })
		}
	}
}

// asRecorded brings the server into the state that the recorded ones were in: somebody had
// opened them in a browser before.
func (p *player) asRecorded() {
	var stats struct {
		System struct {
			FrontEnd string `json:"required_frontend_version"`
		}
	}
	_ = json.Unmarshal(fetch(p.t, p.base+"/system_stats"), &stats)
	body := fmt.Sprintf(`{"Comfy.InstalledVersion":%q,"Comfy.TutorialCompleted":true}`, stats.System.FrontEnd)
	r, err := http.Post(p.base+"/settings", "application/json", strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	r.Body.Close()
}

// wait does what the recorder's pauses did.
func (p *player) wait(name string) {
	switch name {
	case "GET /queue busy":
		p.until("a prompt runs", "/queue", func(b string) bool { return !strings.Contains(b, `"queue_running": []`) })
	case "GET /history of interrupted":
		p.idle()
	}
}

func (p *player) idle() {
	p.until("the queue is empty", "/prompt", func(b string) bool { return strings.Contains(b, `"queue_remaining": 0`) })
}

func (p *player) until(what, path string, ok func(body string) bool) {
	p.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if ok(string(fetch(p.t, p.base+path))) {
			return
		}
	}
	p.t.Fatalf("waited in vain until %s", what)
}

// translate registers that the recording's name is another one here.
func (p *player) translate(recorded, here string) {
	if recorded != here && recorded != "" && here != "" {
		p.to = append([]string{recorded, here}, p.to...) // the newest wins on the way out
	}
}

func (p *player) outward(s string) string { return strings.NewReplacer(p.to...).Replace(s) }

func (p *player) inward(s string) string {
	var back []string
	for i := 0; i < len(p.to); i += 2 {
		back = append(back, p.to[i+1], p.to[i])
	}
	return strings.NewReplacer(back...).Replace(s)
}

func (p *player) request(e exchange) {
	p.t.Helper()
	body, kind := p.body(e)
	req, err := http.NewRequest(e.Method, p.base+p.outward(e.Path), body)
	if err != nil {
		p.t.Fatal(err)
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	for k, v := range e.RequestHeaders {
		req.Header.Set(k, v)
	}
	r, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	p.compareAnswer(e, r, b)
}

// recordedPNG is the 2×2 picture that the recorder uploads.
const recordedPNG = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAFklEQVR4nGP8z8DAwMDAxMDAwMDAAAANHQEDasKb6QAAAABJRU5ErkJggg=="

// body rebuilds the request body; the recording only has a note of the multipart ones.
func (p *player) body(e exchange) (io.Reader, string) {
	what, isUpload := strings.CutPrefix(e.Name, "POST /upload/image")
	if !isUpload {
		var text string
		if json.Unmarshal(e.RequestBody, &text) != nil {
			text = p.recolour(string(e.RequestBody))
		}
		if text == "null" {
			text = ""
		}
		return strings.NewReader(p.outward(text)), ""
	}
	png, err := base64.StdEncoding.DecodeString(recordedPNG)
	if err != nil {
		p.t.Fatal(err)
	}
	switch strings.TrimSpace(what) {
	case "same name other bytes":
		return form("image", "rec.png", append(png, 'x'))
	case "overwrite":
		return form("image", "rec.png", png, "overwrite", "true")
	case "subfolder":
		return form("image", "rec.png", png, "subfolder", "pasted")
	case "subfolder escape":
		return form("image", "rec.png", png, "subfolder", "../../x")
	case "type temp":
		return form("image", "rec.png", png, "type", "temp")
	case "no image field":
		return form("x", "x", []byte("y"))
	case "broken png":
		return form("image", "rec_bad.png", []byte("not a png"))
	}
	return form("image", "rec.png", png)
}

func form(field, name string, content []byte, fields ...string) (io.Reader, string) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	part, _ := w.CreatePart(textproto.MIMEHeader{
		"Content-Disposition": {fmt.Sprintf(`form-data; name=%q; filename=%q`, field, name)}, "Content-Type": {"image/png"}})
	_, _ = part.Write(content)
	for i := 0; i+1 < len(fields); i += 2 {
		_ = w.WriteField(fields[i], fields[i+1])
	}
	_ = w.Close()
	return &b, w.FormDataContentType()
}

// recolour gives the picture a colour that this server has not made before, so that nothing but
// what the recording shows as cached comes from the cache. It also renews the prompt's id.
func (p *player) recolour(body string) string {
	v, err := parse(strings.NewReader(body))
	o, ok := v.(*object)
	if err != nil || !ok || o.object("prompt") == nil {
		return body
	}
	inputs := o.object("prompt").object("1").object("inputs")
	if c, _ := inputs.get("color"); c != nil && c != number("0") {
		n, _ := c.(number)
		inputs.set("color", (int(n.float())+p.rand)&0xffffff)
	}
	if id := o.str("prompt_id"); canonicalUUID.MatchString(id) {
		p.translate(id, newUUID())
	}
	return string(dumps(o))
}

// socket replays a transcript: connect, send, then act (a prompt), and read on until it is over.
func (p *player) socket(e, act exchange) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	withAct := strings.Contains(e.Path, "clientId=")
	if withAct {
		p.idle()
		// A fresh id for each socket: when the one before is slow to close, it takes the id with it.
		_, id, _ := strings.Cut(e.Path, "clientId=")
		p.translate(id, newHex())
	}
	c, _, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(p.base, "http")+p.outward(e.Path), nil)
	if err != nil {
		p.t.Fatal(err)
	}
	defer c.CloseNow()
	c.SetReadLimit(-1)
	frames := make(chan message, 1000)
	go readFrames(ctx, c, frames)
	for _, m := range e.Sent {
		if err := c.Write(ctx, websocket.MessageText, m); err != nil {
			p.t.Fatal(err)
		}
	}
	var got []message
	got = append(got, p.next(frames, 5*time.Second)...)
	if len(e.Sent) > 0 {
		got = append(got, p.next(frames, 5*time.Second)...)
	}
	if withAct {
		p.request(act)
		got = append(got, p.untilOver(frames)...)
	}
	got = append(got, p.next(frames, 300*time.Millisecond)...)
	if !withAct {
		compareBroadcasts(p, got)
		return
	}
	p.compareFrames(e.Received, got)
}

func readFrames(ctx context.Context, c *websocket.Conn, to chan<- message) {
	defer close(to)
	for {
		kind, b, err := c.Read(ctx)
		if err != nil {
			return
		}
		m := message{JSON: b}
		if kind == websocket.MessageBinary {
			m = message{BinaryType: int(b[3]), HeadHex: fmt.Sprintf("%x", b[:min(16, len(b))])}
		}
		to <- m
	}
}

// next waits for one frame; none when it takes too long.
func (p *player) next(frames <-chan message, wait time.Duration) []message {
	select {
	case m, open := <-frames:
		if open {
			return []message{m}
		}
	case <-time.After(wait):
	}
	return nil
}

// untilOver reads up to the frame that tells that the prompt has ended.
func (p *player) untilOver(frames <-chan message) (got []message) {
	for {
		m := p.next(frames, 20*time.Second)
		got = append(got, m...)
		if len(m) == 0 || strings.Contains(string(m[0].JSON), `"executing"`) && strings.Contains(string(m[0].JSON), `"node": null`) {
			return got
		}
	}
}
