package examples

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestClientsFromNpm runs two client libraries. They bring 200 packages along,
// so they are not installed for this alone: it runs where COMFYLATCH_NPM is a
// folder in which somebody has done
//
//	npm install @saintno/comfyui-sdk @stable-canvas/comfyui-client ws
func TestClientsFromNpm(t *testing.T) {
	folder := os.Getenv("COMFYLATCH_NPM")
	if folder == "" || program("node") == "" {
		t.Skip("COMFYLATCH_NPM is not set, or node is not installed")
	}
	gate := startGate(t, startStandin(t))
	for _, c := range []struct{ name, file, way string }{
		{"saintno, bearer", "saintno.mjs", "bearer"}, {"saintno, basic", "saintno.mjs", "basic"}, {"stable-canvas", "stable_canvas.mjs", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			script, err := os.ReadFile(filepath.Join("testdata", c.file))
			if err != nil {
				t.Fatal(err)
			}
			dir, err := os.MkdirTemp(folder, "test-") // packages are found from where a script stands
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(dir)
			path := filepath.Join(dir, c.file)
			if err := os.WriteFile(path, script, 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := example(t, gate, "bearer", key, program("node"), path, gate, key, c.way).CombinedOutput()
			if err != nil || !strings.Contains(string(out), "PNG") {
				t.Errorf("got %v and %q, want a picture", err, out)
			}
		})
	}
}
