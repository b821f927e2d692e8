package browsertest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// secretPicture is a picture of noise: no run of its bytes is anywhere else.
func secretPicture(t *testing.T, path string) *image.NRGBA {
	t.Helper()
	m := image.NewNRGBA(image.Rect(0, 0, 123, 77))
	for i := range m.Pix {
		m.Pix[i] = uint8(rand.IntN(256))
		if i%4 == 3 {
			m.Pix[i] = 255
		}
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := png.Encode(f, m); err != nil {
		t.Fatal(err)
	}
	return m
}

// needCompanion skips where ComfyUI has no companion node, and gives the gate
// what they share. COMFYUI_DIR is the folder of the ComfyUI at COMFYUI_URL.
func needCompanion(t *testing.T, c *comfyUI) (dir, secret string) {
	t.Helper()
	dir = os.Getenv("COMFYUI_DIR")
	if !c.real || dir == "" {
		t.Skip("no real ComfyUI with the companion node: set COMFYUI_URL and COMFYUI_DIR")
	}
	var settings struct {
		Secret string `json:"secret"`
	}
	text, err := os.ReadFile(filepath.Join(dir, "custom_nodes", "comfylatch_incognito", "comfylatch.json"))
	if err != nil || json.Unmarshal(text, &settings) != nil {
		t.Skip("the companion node is not installed: run comfylatch node install")
	}
	return dir, settings.Secret
}

// incognitoGraph loads Upload Image Incognito → ImageInvert → SaveImage.
func (p *tab) incognitoGraph() {
	p.t.Helper()
	p.load(map[string]any{
		"1": node("LatchLoadImageIncognito", map[string]any{"auto_delete": true}),
		"2": node("ImageInvert", map[string]any{"image": from("1")}),
		"3": node("SaveImage", map[string]any{"images": from("2"), "filename_prefix": "incognito"}),
	})
	p.wait("the picture's widget", shown(".comfylatch-picture button"))
}

// savedPicture gives what the SaveImage node shows.
func (p *tab) savedPicture(g *gate) ([]byte, image.Image) {
	p.t.Helper()
	p.result()
	address := eval[string](p, "app.graph._nodes.find((n) => n.type === 'SaveImage').imgs[0].src")
	address = strings.Replace(address, "preview=", "was=", 1) // the file itself, not a preview
	req, _ := http.NewRequest("GET", address, nil)
	req.Header.Set("Cookie", p.cookie(g.url))
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer r.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(r.Body); err != nil {
		p.t.Fatal(err)
	}
	m, err := png.Decode(bytes.NewReader(body.Bytes()))
	if err != nil {
		p.t.Fatal(err)
	}
	return body.Bytes(), m
}

// wantInverted compares with what ComfyUI's float32 arithmetic makes of it.
func wantInverted(t *testing.T, got image.Image, want *image.NRGBA) {
	t.Helper()
	if got.Bounds() != want.Bounds() {
		t.Fatalf("the saved picture is %v, want %v", got.Bounds(), want.Bounds())
	}
	invert := func(v uint32) uint8 {
		f := float32(uint8(v>>8)) / 255
		return uint8(255 * float32(1-f))
	}
	for y := range want.Rect.Dy() {
		for x := range want.Rect.Dx() {
			r, g, b, _ := want.At(x, y).RGBA()
			gr, gg, gb, _ := got.At(x, y).RGBA()
			if uint8(gr>>8) != invert(r) || uint8(gg>>8) != invert(g) || uint8(gb>>8) != invert(b) {
				t.Fatalf("the pixel at %d,%d is %v, want %v inverted", x, y, got.At(x, y), want.At(x, y))
			}
		}
	}
}

// TestUploadImageIncognito is the whole way, in front of a real ComfyUI.
func TestUploadImageIncognito(t *testing.T) {
	forEachComfyUI(t, func(t *testing.T, c *comfyUI) {
		dir, secret := needCompanion(t, c)
		g := startGate(t, c, "--debug")
		if err := os.WriteFile(filepath.Join(g.state, "node.secret"), []byte(secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "holiday-with-zaphod.png")
		want := secretPicture(t, file)
		p := openTab(t, desktop)
		p.setUp(g)
		p.graph(c)
		// Whatever the page tells the gate is noted, so that the key is known.
		p.run(`window.keys = []; window.handles = []; const send = window.fetch; window.fetch = (url, o) => {
if (/incognito.*unlock/.test(url)) { keys.push(JSON.parse(o.body).key); handles.push(url.split('/').at(-2)); } return send(url, o); }`)
		p.incognitoGraph()
		p.picture("incognito-empty")
		p.choose(file, "document.querySelector('.comfylatch-picture button').click()")
		p.wait("the upload", says("It is unlocked only for a run"))
		p.wait("the preview", "document.querySelector('.comfylatch-picture img').naturalWidth === 123 && document.querySelector('.comfylatch-picture img').src.startsWith('blob:')")
		p.picture("incognito")
		p.queueGraph()
		saved, m := p.savedPicture(g)
		wantInverted(t, m, want)
		if n, _ := os.ReadDir(filepath.Join(g.state, "incognito")); len(n) > 0 {
			t.Error("the ciphertext is still there after the run")
		}

		// Again, with another node's parameter changed, and another's prompt between.
		c.post("/prompt", map[string]any{"prompt": quick(0x123456)}, nil)
		if !until(func() bool { return c.queueLength() == 0 }) {
			t.Fatal("the other prompt does not end")
		}
		p.run("app.graph._nodes.find((n) => n.type === 'SaveImage').widgets[0].value = 'incognito-again'")
		p.queueGraph()
		_, m = p.savedPicture(g)
		wantInverted(t, m, want)

		keys, handles := eval[[]string](p, "keys"), eval[[]string](p, "handles")
		if len(keys) != 2 || keys[0] != keys[1] {
			t.Fatalf("the key was shown %d times, want twice the same", len(keys))
		}
		plain, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		n := searchEverywhere(t, c, g, p, dir, traces(t, keys[0], plain, want), saved)
		t.Logf("%d places searched for %d traces: none is there", n, len(traces(t, keys[0], plain, want)))

		// What the page gave to nobody, nobody has.
		p.open(g.url + "/")
		p.graph(c)
		p.wait("the message", says("Choose the picture again"))
		p.run("await app.queuePrompt(0, 1).catch(() => {})")
		p.wait("the refusal", "Object.keys(app.lastNodeErrors ?? {}).length === 1")
		if text := eval[string](p, "JSON.stringify(app.lastNodeErrors)"); !strings.Contains(text, "Choose the picture again") {
			t.Errorf("the node says %s", text)
		}
		// And the handle alone is worth nothing.
		body := fmt.Sprintf(`{"prompt": {"1": {"class_type": "LatchLoadImageIncognito", "inputs": {"image": %q, "auto_delete": true}},
"2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}}`, handles[0])
		if s := eval[int](p, fmt.Sprintf("fetch('/prompt', {method: 'POST', body: %q}).then((r) => r.status)", body)); s != 400 {
			t.Errorf("a used handle: %d, want 400", s)
		}
		p.picture("incognito-again")
	})
}
