package browsertest

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"image"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// traces are what must be nowhere: the key in every spelling, parts of the
// file and of its pixels, and its name.
func traces(t *testing.T, key string, file []byte, m *image.NRGBA) map[string][]byte {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(key)
	if err != nil || len(raw) != 32 {
		t.Fatalf("the key is not 32 bytes: %v", err)
	}
	var rgb []byte
	for i := 0; i < 100; i++ {
		rgb = append(rgb, m.Pix[4*i:4*i+3]...)
	}
	url := base64.RawURLEncoding.EncodeToString(raw)
	return map[string][]byte{
		"the raw key": raw, "the key in hex": []byte(hex.EncodeToString(raw)), "the key in base64": []byte(key[:40]), "the key in base64url": []byte(url[:40]),
		"the file's beginning": file[100:140], "the file's middle": file[len(file)/2:][:32], "the file's end": file[len(file)-60:][:40],
		"the pixels": rgb[30:80], "the pixels in RGBA": m.Pix[80:140], "the file's name": []byte("zaphod"),
	}
}

// searchEverywhere looks for the traces in every file below ComfyUI's and the
// gate's state folder, in what ComfyUI says, in the logs and in what the page
// keeps. It gives the number of places.
func searchEverywhere(t *testing.T, c *comfyUI, g *gate, p *tab, dir string, traces map[string][]byte, saved []byte) int {
	t.Helper()
	places := 0
	look := func(where string, text []byte) {
		places++
		for what, trace := range traces {
			if bytes.Contains(text, trace) {
				t.Errorf("%s is in %s", what, where)
			}
		}
	}
	look("the saved picture", saved)
	for _, path := range []string{"/queue", "/history", "/jobs", "/api/jobs", "/internal/logs/raw", "/object_info/LatchLoadImageIncognito"} {
		look("ComfyUI's "+path, c.bytes(path))
	}
	g.log.mu.Lock()
	look("the gate's log", bytes.Clone(g.log.text.Bytes()))
	g.log.mu.Unlock()
	look("the page's storage", []byte(eval[string](p, "JSON.stringify([{...localStorage}, {...sessionStorage}, window.name])")))
	look("the workflow", []byte(eval[string](p, "JSON.stringify(app.graph.serialize())")))
	for _, root := range []string{dir, g.state} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			text, err := os.ReadFile(path)
			if err == nil {
				look(path, text)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return places
}
