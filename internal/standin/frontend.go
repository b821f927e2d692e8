package standin

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// page is our own front end, for when ComfyUI's is not installed.
//
//go:embed page
var page embed.FS

// frontEnd is the folder that is mounted at /: ComfyUI's front end, or our own page.
type frontEnd struct {
	root       *os.Root // nil: the embedded page
	files      fs.FS
	extensions list // what GET /extensions answers
}

func openFrontEnd(dir string) (frontEnd, error) {
	if dir == "" {
		sub, err := fs.Sub(page, "page")
		return frontEnd{files: sub, extensions: list{}}, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return frontEnd{}, fmt.Errorf("open the front end: %w", err)
	}
	fe := frontEnd{root: root, files: root.FS(), extensions: list{}}
	if _, err := fs.Stat(fe.files, "index.html"); err != nil {
		return fe, fmt.Errorf("open the front end in %s: %w", dir, err)
	}
	err = fs.WalkDir(fe.files, "extensions", func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && !d.IsDir() && strings.HasSuffix(p, ".js") {
			fe.extensions = append(fe.extensions, "/"+p)
		}
		return err
	})
	return fe, err
}

// FindFrontEnd returns the `static` folder of an installed comfyui-frontend-package, or "" when
// there is none. It asks the python3 on the PATH, for two seconds at most.
func FindFrontEnd() string {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	const ask = `import importlib.util as u, os
s = u.find_spec("comfyui_frontend_package")
print(os.path.join(os.path.dirname(s.origin), "static") if s and s.origin else "")`
	out, err := exec.CommandContext(ctx, "python3", "-c", ask).Output()
	dir := strings.TrimSpace(string(out))
	if err != nil || dir == "" {
		return ""
	}
	if _, err := os.Stat(filepath.Join(dir, "index.html")); err != nil {
		return ""
	}
	return dir
}

func (s *Server) getExtensions(w http.ResponseWriter, _ *http.Request, _ []string) {
	answer(w, http.StatusOK, s.front.extensions)
}

func (s *Server) getIndex(w http.ResponseWriter, r *http.Request, _ []string) {
	w.Header().Set("Cache-Control", s.profile.indexCache)
	w.Header().Set("Pragma", "no-cache")
	w.Header().Set("Expires", "0")
	s.sendStatic(w, r, "index.html")
}

// static serves the front end. What is not there is a chunked 404 with the cache headers of a
// file that is: aiohttp decides on the headers before it looks.
func (s *Server) static(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/")
	if c := s.profile.cacheControl(r.URL.Path, http.StatusOK); c != "" {
		w.Header().Set("Cache-Control", c)
	}
	folder := strings.TrimSuffix(name, "/")
	if !fs.ValidPath(folder) {
		chunked(w, http.StatusNotFound)
		return
	}
	info, err := fs.Stat(s.front.files, folder)
	switch {
	case err == nil && info.IsDir():
		text(w, http.StatusForbidden, "403: Forbidden")
	case err != nil || folder != name:
		chunked(w, http.StatusNotFound)
	default:
		s.sendStatic(w, r, name)
	}
}

func (s *Server) sendStatic(w http.ResponseWriter, r *http.Request, name string) {
	f, err := s.front.files.Open(name)
	if err != nil {
		chunked(w, http.StatusNotFound)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	seeker, ok := f.(io.ReadSeeker)
	if err != nil || !ok {
		crash(w)
		return
	}
	serveFile(w, r, seeker, embedded{info, s.started}, contentType(path.Base(name)))
}

// embedded gives files that carry no time the time of the start.
type embedded struct {
	fs.FileInfo
	started time.Time
}

func (e embedded) ModTime() time.Time {
	if t := e.FileInfo.ModTime(); !t.IsZero() {
		return t
	}
	return e.started
}

// chunked sends a status with an empty chunked body, as aiohttp's FileResponse does when there
// is no file.
func chunked(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "application/octet-stream")
	w.WriteHeader(status)
	_ = http.NewResponseController(w).Flush()
}
