package browsertest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const programKey = "a-key-of-a-program"

// program speaks the gate's HTTP API, with a key or a session's cookie.
type program struct {
	t      *testing.T
	gate   *gate
	cookie string
}

// do sends a request and gives the status and the body.
func (p program) do(method, path string, body []byte) (int, []byte) {
	p.t.Helper()
	req, err := http.NewRequest(method, p.gate.url+path, bytes.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	if p.cookie != "" {
		req.Header.Set("Cookie", p.cookie)
		req.Header.Set("Origin", p.gate.url)
	} else {
		req.Header.Set("Authorization", "Bearer "+programKey)
	}
	r, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer r.Body.Close()
	answer, err := io.ReadAll(r.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return r.StatusCode, answer
}

// upload encrypts a picture as docs/incognito.md says, and sends it.
func (p program) upload(picture []byte) (handle string, key []byte) {
	p.t.Helper()
	const chunk = 1 << 20
	key, header := make([]byte, 32), append([]byte("LATCHPIC\x01"), make([]byte, 7)...)
	rand.Read(key)
	rand.Read(header[9:])
	block, err := aes.NewCipher(key)
	if err != nil {
		p.t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		p.t.Fatal(err)
	}
	n := (len(picture) + chunk - 1) / chunk
	size := len(header) + len(picture) + n*16
	status, answer := p.do("POST", "/_latch/api/incognito", fmt.Appendf(nil, `{"size": %d}`, size))
	var begun struct {
		Handle string `json:"handle"`
	}
	if status != 201 || json.Unmarshal(answer, &begun) != nil {
		p.t.Fatalf("begin: %d %s", status, answer)
	}
	at, piece := 0, header
	for i := range n {
		nonce := append(bytes.Clone(header[9:]), 0, 0, 0, 0, 0)
		binary.BigEndian.PutUint32(nonce[7:], uint32(i))
		if i == n-1 {
			nonce[11] = 1
		}
		piece = aead.Seal(bytes.Clone(piece), nonce, picture[i*chunk:min(len(picture), (i+1)*chunk)], header)
		if status, answer := p.do("PUT", fmt.Sprintf("/_latch/api/incognito/%s?at=%d", begun.Handle, at), piece); status != 200 {
			p.t.Fatalf("piece %d: %d %s", i, status, answer)
		}
		at, piece = at+len(piece), nil
	}
	return begun.Handle, key
}

func (p program) unlock(handle string, key []byte) int {
	p.t.Helper()
	status, _ := p.do("POST", "/_latch/api/incognito/"+handle+"/unlock", fmt.Appendf(nil, `{"key": %q}`, base64.StdEncoding.EncodeToString(key)))
	return status
}

// queue queues a prompt that begins with the picture.
func (p program) queue(handle string, more map[string]any) (status int, promptID string, answer []byte) {
	p.t.Helper()
	prompt := map[string]any{"1": node("LatchLoadImageIncognito", map[string]any{"image": handle, "auto_delete": true})}
	for id, n := range more {
		prompt[id] = n
	}
	body, _ := json.Marshal(map[string]any{"prompt": prompt})
	status, answer = p.do("POST", "/prompt", body)
	var queued struct {
		PromptID string `json:"prompt_id"`
	}
	_ = json.Unmarshal(answer, &queued)
	return status, queued.PromptID, answer
}

var preview = map[string]any{"2": node("PreviewImage", map[string]any{"images": from("1")})}

// wantRun unlocks, queues and waits.
func (p program) wantRun(c *comfyUI, what, handle string, key []byte, more map[string]any) {
	p.t.Helper()
	if s := p.unlock(handle, key); s != 200 {
		p.t.Fatalf("%s: unlock: %d", what, s)
	}
	s, id, answer := p.queue(handle, more)
	if s != 200 {
		p.t.Fatalf("%s: %d %s", what, s, answer)
	}
	if !until(func() bool { return c.succeeded(id) }) {
		p.t.Fatalf("%s: the prompt does not succeed", what)
	}
}

// wantAgain wants the one answer for a picture that is not there any more.
func (p program) wantAgain(what, handle string, key []byte) {
	p.t.Helper()
	if s := p.unlock(handle, key); s != 410 {
		p.t.Errorf("%s: unlock: %d, want 410", what, s)
	}
	s, _, answer := p.queue(handle, preview)
	var refused struct {
		Nodes map[string]struct {
			Errors []struct{ Message string } `json:"errors"`
		} `json:"node_errors"`
	}
	if err := json.Unmarshal(answer, &refused); s != 400 || err != nil || len(refused.Nodes["1"].Errors) != 1 || refused.Nodes["1"].Errors[0].Message != "Choose the picture again" {
		p.t.Errorf("%s: %d %s, want ComfyUI's error on the node", what, s, answer)
	}
}

// inMemory asks the companion node, as the gate does.
func inMemory(t *testing.T, c *comfyUI, secret, handle string) bool {
	t.Helper()
	req, _ := http.NewRequest("GET", c.url+"/comfylatch/pictures/"+handle, nil)
	req.Header.Set("Comfylatch-Secret", secret)
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	return r.StatusCode == 204
}

// nothingLeft wants no ciphertext, and no trace of the picture or its key in
// any file.
func nothingLeft(t *testing.T, g *gate, dir string, key, file []byte) {
	t.Helper()
	if !until(func() bool { _, err := os.Stat(filepath.Join(g.state, "incognito")); return os.IsNotExist(err) }) {
		t.Error("ciphertext was left behind")
	}
	for _, root := range []string{filepath.Join(dir, "input"), filepath.Join(dir, "temp"), filepath.Join(dir, "user"), g.state} {
		filepath.WalkDir(root, func(path string, _ os.DirEntry, _ error) error {
			text, err := os.ReadFile(path) // a folder or what is gone meanwhile holds no trace
			if err == nil && (bytes.Contains(text, key) || bytes.Contains(text, file[len(file)/2:][:32])) {
				t.Errorf("a trace is in %s", path)
			}
			return nil
		})
	}
}

func startWithCompanion(t *testing.T, c *comfyUI) (g *gate, p program, dir, secret string) {
	dir, secret = needCompanion(t, c)
	g = startGate(t, c, "--api-key", programKey)
	if err := os.WriteFile(filepath.Join(g.state, "node.secret"), []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return g, program{t: t, gate: g}, dir, secret
}

func noise(t *testing.T) []byte {
	m := image.NewNRGBA(image.Rect(0, 0, 200, 100))
	rand.Read(m.Pix)
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestPrivatePictureThroughRestartsAndKills(t *testing.T) {
	forEachComfyUI(t, func(t *testing.T, c *comfyUI) {
		g, p, dir, secret := startWithCompanion(t, c)
		if !c.canDie() {
			t.Skip("this ComfyUI cannot be killed: set COMFYUI_COMMAND")
		}
		comfyRestarts := func() {
			c.stop()
			c.start()
			// The gate must have seen it.
			until(func() bool { s, _ := p.do("GET", "/queue", nil); return s == 200 })
		}
		picture := noise(t)
		h, key := p.upload(picture)
		comfyRestarts()
		p.wantRun(c, "ComfyUI restarted between upload and run", h, key, preview)
		p.wantRun(c, "again", h, key, map[string]any{"2": node("ImageInvert", map[string]any{"image": from("1")}), "3": node("PreviewImage", map[string]any{"images": from("2")})})
		comfyRestarts()
		p.wantAgain("ComfyUI restarted after the run", h, key)

		h, key = p.upload(picture)
		p.wantRun(c, "before /free", h, key, preview)
		if s, _ := p.do("POST", "/free", []byte(`{"free_memory": true, "unload_models": true}`)); s != 200 {
			t.Fatal(s)
		}
		p.wantAgain("after /free", h, key)

		waiting, waitingKey := p.upload(picture)
		g.kill()
		g.start()
		p.wantAgain("the gate killed between upload and run", waiting, waitingKey)
		nothingLeft(t, g, dir, waitingKey, picture)

		h, key = p.upload(picture)
		more, last := map[string]any{}, "1"
		for i := range 24 {
			id := strconv.Itoa(10 + i)
			more[id] = node("ImageBlur", map[string]any{"image": from(last), "blur_radius": 31, "sigma": 5.0})
			last = id
		}
		more["3"] = node("PreviewImage", map[string]any{"images": from(last)})
		if s := p.unlock(h, key); s != 200 {
			t.Fatal(s)
		}
		if s, _, answer := p.queue(h, more); s != 200 {
			t.Fatalf("%d %s", s, answer)
		}
		g.kill()
		c.stop()
		c.start()
		g.start()
		p.wantAgain("both killed while running", h, key)
		nothingLeft(t, g, dir, key, picture)

		browser := program{t: t, gate: g, cookie: g.setUpByForm()}
		h, key = browser.upload(picture)
		browser.wantRun(c, "in a session", h, key, preview)
		p.wantAgain("the same person's key", h, key)
		if !inMemory(t, c, secret, h) {
			t.Error("the picture is not in ComfyUI's memory before the log-out")
		}
		browser.do("POST", "/logout", nil)
		if !until(func() bool { return !inMemory(t, c, secret, h) }) {
			t.Error("the picture is in ComfyUI's memory after the log-out")
		}
	})
}

// resident is the gate's memory in MB: VmRSS now, VmHWM at most.
func (g *gate) resident(what string) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.process.Process.Pid))
	if err != nil {
		g.t.Skip("no /proc here")
	}
	m := regexp.MustCompile(what + `:\s+(\d+) kB`).FindStringSubmatch(string(text))
	n, _ := strconv.Atoi(m[1])
	return n >> 10
}

func TestPrivatePictureOf100MB(t *testing.T) {
	forEachComfyUI(t, func(t *testing.T, c *comfyUI) {
		g, p, _, _ := startWithCompanion(t, c)
		picture := hugePicture(t)
		before := g.resident("VmRSS")
		small := map[string]any{
			"2": node("ImageScale", map[string]any{"image": from("1"), "upscale_method": "nearest-exact", "width": 64, "height": 48, "crop": "disabled"}),
			"3": node("PreviewImage", map[string]any{"images": from("2")}),
		}
		done := make(chan bool)
		go func() {
			h, key := p.upload(picture)
			done <- p.unlock(h, key) == 200
		}()
		h, key := p.upload(picture)
		p.wantRun(c, "the large picture", h, key, small)
		if !<-done {
			t.Error("a second large picture beside it was not taken")
		}
		t.Logf("%d MB picture; the gate: %d MB before, %d MB at most, %d MB after", len(picture)>>20, before, g.resident("VmHWM"), g.resident("VmRSS"))
		if g.resident("VmHWM") > before+60 {
			t.Errorf("the gate took %d MB, %d MB before", g.resident("VmHWM"), before)
		}
	})
}

// hugePicture is a JPEG of 12000 by 8000 and just under 100 MB.
func hugePicture(t *testing.T) []byte {
	t.Helper()
	m := image.NewYCbCr(image.Rect(0, 0, 12000, 8000), image.YCbCrSubsampleRatio420)
	rand.Read(m.Y)
	for i := range m.Y {
		m.Y[i] = m.Y[i]>>1 + 64
	}
	for q := 90; ; q -= 7 {
		var b bytes.Buffer
		if err := jpeg.Encode(&b, m, &jpeg.Options{Quality: q}); err != nil {
			t.Fatal(err)
		}
		if b.Len() <= 100<<20 {
			return append(b.Bytes(), strings.Repeat("\x00", 100<<20-b.Len())...)
		}
	}
}
