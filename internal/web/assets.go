package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"

	"comfylatch/internal/account"
)

//go:embed templates/*.html
var templates embed.FS

//go:embed static app
var files embed.FS

// assets are the embedded files. Each can be had under its plain address,
// checked with the server each time, and under one with a fingerprint of them
// all, which browsers keep for a year.
type assets struct {
	print string            // fingerprint of all files, in hex
	files map[string][]byte // by "static/x.css", "app/x.js"
}

// loadAssets reads the embedded files. The version is part of the fingerprint.
func loadAssets(version string) (*assets, error) {
	a := &assets{files: make(map[string][]byte)}
	sum := sha256.New()
	fmt.Fprintln(sum, version)
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		fmt.Fprintln(sum, name, len(data))
		sum.Write(data)
		a.files[name] = data
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the built-in files: %w", err)
	}
	a.print = hex.EncodeToString(sum.Sum(nil))[:12]
	return a, nil
}

// EarlyScript is what goes into ComfyUI's page before everything else.
func EarlyScript() []byte {
	text, err := files.ReadFile("app/early.js")
	if err != nil {
		panic(err) // it is built in
	}
	return text
}

// address is where pages find a static file.
func (a *assets) address(name string) (string, error) {
	if _, ok := a.files["static/"+name]; !ok {
		return "", fmt.Errorf("there is no static file %q", name)
	}
	return "/_latch/static/" + a.print + "/" + name, nil
}

// module is where ComfyUI's page finds a script of ours.
func (a *assets) module(name string) string {
	return "/_latch/app/" + a.print + "/" + name
}

// contentTypes by extension; the system's own table is not asked.
var contentTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

func (s *Site) serveAsset(w http.ResponseWriter, r *http.Request, folder, name string) {
	if !s.only(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	name, fixed := strings.CutPrefix(name, s.assets.print+"/")
	if !fixed {
		// A page from before an update: the fingerprint is an old one.
		if print, rest, ok := strings.Cut(name, "/"); ok && len(print) == len(s.assets.print) {
			name = rest
		}
	}
	data, ok := s.assets.files[folder+"/"+name]
	if !ok {
		s.fail(w, r, account.ErrNotFound)
		return
	}
	h := w.Header()
	h.Set("Content-Type", contentTypes[path.Ext(name)])
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("ETag", `"`+s.assets.print+`"`)
	switch {
	case !fixed:
		h.Set("Cache-Control", "no-cache")
	case folder == "static":
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	default:
		h.Set("Cache-Control", "private, max-age=31536000, immutable")
	}
	if match := r.Header.Get("If-None-Match"); match != "" && strings.Contains(match, s.assets.print) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.WriteHeader(http.StatusOK)
	w.Write(data)
}
