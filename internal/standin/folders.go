package standin

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/png"
	"io/fs"
	"math"
	"mime"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// uploadPrefix begins the names of uploads that are still on their way.
const uploadPrefix = ".upload-"

const userFolder = "user/default"

// makeFolders makes the folders of a fresh ComfyUI, with the two files it brings along.
func (s *Server) makeFolders() error {
	_, err := s.root.Stat("input")
	fresh := errors.Is(err, fs.ErrNotExist)
	for _, d := range []string{"input", "output", "temp", userFolder, "models"} {
		if err := s.root.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	for _, m := range s.profile.models {
		for _, d := range modelFolders(m) {
			if strings.HasPrefix(d, "models/") {
				if err := s.root.MkdirAll(d, 0o755); err != nil {
					return err
				}
			}
		}
	}
	if !fresh {
		return nil
	}
	var b bytes.Buffer
	if err := png.Encode(&b, examplePicture()); err != nil {
		return err
	}
	if err := s.root.WriteFile("input/example.png", b.Bytes(), 0o644); err != nil {
		return err
	}
	return s.root.WriteFile("output/_output_images_will_be_put_here", nil, 0o644)
}

// examplePicture is a sunset, so that a fresh demo has something to load.
func examplePicture() image.Image {
	const w, h = 512, 320
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			t := float64(y) / h
			r, g, b := 40+200*t, 30+110*t*t, 90+60*math.Sin(t*3)
			if d := math.Hypot(float64(x-340), float64(y-180)); d < 60 {
				r, g, b = 255, 214, 140
			}
			if float64(y) > 230+18*math.Sin(float64(x)/47)+9*math.Sin(float64(x)/13) {
				r, g, b = 24, 20, 44
			}
			m.SetRGBA(x, y, color.RGBA{uint8(r), uint8(g), uint8(b), 255})
		}
	}
	return m
}

// annotated is the path below Dir of a name as loaders and /view take it: "x.png [output]" is
// in output, whatever the folder would be otherwise.
func annotated(name, folder string) string {
	for _, f := range []string{"output", "input", "temp"} {
		if tag := "[" + f + "]"; strings.HasSuffix(name, tag) {
			name, folder = name[:max(0, len(name)-len(tag)-1)], f
		}
	}
	return folder + "/" + name
}

// inRoot cleans a path below Dir; false when it leads out. A ComfyUI would follow it anywhere:
// this one is started on people's own machines for a look.
func (s *Server) inRoot(p string) (string, bool) {
	if folder, name, _ := strings.Cut(p, "/"); strings.HasPrefix(name, "/") && folder != "" {
		rel, err := filepath.Rel(s.dir, name)
		if err != nil {
			return "", false
		}
		p = filepath.ToSlash(rel)
	}
	p = path.Clean(p)
	return p, filepath.IsLocal(p) && !strings.ContainsRune(p, 0)
}

func (s *Server) exists(p string) bool {
	p, ok := s.inRoot(p)
	if !ok {
		return false
	}
	_, err := s.root.Stat(p)
	return err == nil
}

// open opens a file below Dir for reading.
func (s *Server) open(p string) (*os.File, error) {
	p, ok := s.inRoot(p)
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: p, Err: fs.ErrNotExist}
	}
	return s.root.Open(p)
}

// abs is the path that a ComfyUI in Dir would show.
func (s *Server) abs(p string) string { return filepath.Join(s.dir, filepath.FromSlash(p)) }

// contentType guesses by the ending, with the few types that matter here spelled as Python does.
func contentType(name string) string {
	switch ext := strings.ToLower(path.Ext(name)); ext {
	case ".js", ".mjs":
		return "application/javascript"
	case ".json", ".map":
		return "application/json"
	case ".html", ".htm":
		return "text/html"
	case ".css":
		return "text/css"
	case ".txt":
		return "text/plain"
	case ".webp":
		return "image/webp"
	case ".mp4":
		return "video/mp4"
	case ".wasm":
		return "application/wasm"
	case ".woff2":
		return "font/woff2"
	case "":
		return "application/octet-stream"
	default:
		t, _, _ := strings.Cut(mime.TypeByExtension(ext), ";")
		if t == "" {
			return "application/octet-stream"
		}
		return t
	}
}
