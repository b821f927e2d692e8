package incognito

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"os"
	"path/filepath"
	"testing"

	"comfylatch/internal/comfy"
)

// listener keeps what goes to ComfyUI, as it would stand on the wire.
type listener struct {
	*fakeNode
	heard bytes.Buffer
}

func (l *listener) RoundTrip(req *http.Request) (*http.Response, error) {
	in := req.Clone(req.Context())
	in.URL.Host, in.URL.Scheme, in.URL.Path, in.URL.Opaque = "comfyui", "http", req.URL.Opaque, ""
	dump, err := httputil.DumpRequestOut(in, true)
	if err != nil {
		return nil, err
	}
	l.heard.Write(dump)
	req.Body = in.Body
	return l.fakeNode.RoundTrip(req)
}

// TestTheKeyIsNowhere looks for it where ComfyUI-Login left it: its prompts
// carried the key, and so did each saved PNG, /history and /queue, which are
// made of the prompt.
func TestTheKeyIsNowhere(t *testing.T) {
	var log bytes.Buffer
	heard := &listener{}
	g := newGate(t, func(o *Options) {
		heard.fakeNode = o.Upstream.(*fakeNode)
		o.Upstream = heard
		o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	key := newKey()
	picture := []byte("the plain picture")
	h := g.upload(alice, seal(t, picture, key))
	if s := g.unlock(alice, h, newKey()); s == http.StatusOK {
		t.Fatal("another key unlocks it")
	}
	h = g.upload(alice, seal(t, picture, key))
	if s := g.unlock(alice, h, key); s != http.StatusOK {
		t.Fatalf("unlock: %d", s)
	}
	body, _ := json.Marshal(map[string]any{"prompt": map[string]any{"1": map[string]any{"class_type": Class, "inputs": map[string]any{"image": h, "auto_delete": true}}}})
	p, err := comfy.ParsePrompt(body)
	if err != nil {
		t.Fatal(err)
	}
	ran, err := g.room.Take(p, alice)
	if err != nil {
		t.Fatal(err)
	}
	prompt, err := p.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	ran(true)
	places := map[string][]byte{"the prompt, and so PNG metadata, /history and /queue": prompt, "a request to ComfyUI": heard.heard.Bytes(), "the log": log.Bytes()}
	filepath.WalkDir(filepath.Dir(g.dir), func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			places["the file "+filepath.Base(path)], _ = os.ReadFile(path)
		}
		return nil
	})
	for name, text := range places {
		t.Run("T46 incognito key is not in "+name, func(t *testing.T) {
			for _, spelled := range []string{string(key), hex.EncodeToString(key), base64.StdEncoding.EncodeToString(key), base64.RawURLEncoding.EncodeToString(key)} {
				if bytes.Contains(text, []byte(spelled)) {
					t.Errorf("it is there as %q", spelled)
				}
			}
		})
	}
	t.Run("T46 control: the picture arrived", func(t *testing.T) {
		if !bytes.Contains(heard.heard.Bytes(), picture) {
			t.Error("ComfyUI did not get the picture")
		}
	})
}
