package standin

import (
	"bytes"
	"fmt"
	"image"
	"io"
	"net/http"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/HugoSmits86/nativewebp"
)

// getView is GET /view?filename=&type=&subfolder=&preview=format;quality&channel=.
func (s *Server) getView(w http.ResponseWriter, r *http.Request, _ []string) {
	name, there := query(r, "filename")
	if !there {
		empty(w, http.StatusNotFound)
		return
	}
	folder, ok := viewFolder(r, &name)
	// A relative or absolute name is refused, an empty one too.
	if !ok || name == "" || strings.HasPrefix(name, "/") || strings.Contains(name, "..") || strings.ContainsRune(name, 0) {
		empty(w, http.StatusBadRequest)
		return
	}
	sub, _ := query(r, "subfolder")
	if sub != "" && !inside(sub) {
		empty(w, http.StatusForbidden)
		return
	}
	name = path.Base(name)
	f, err := s.open(path.Join(folder, sub, name))
	if err != nil {
		empty(w, http.StatusNotFound)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		empty(w, http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Disposition", `filename="`+strings.NewReplacer(`"`, `\"`, "\n", "", "\r", "").Replace(name)+`"`)
	preview, wantsPreview := query(r, "preview")
	channel, _ := query(r, "channel")
	switch {
	case wantsPreview:
		viewPreview(w, f, preview, channel)
	case channel == "rgb" || channel == "a":
		viewChannel(w, f, channel)
	default:
		kind := contentType(name)
		switch kind {
		case "text/html", "text/html-sandboxed", "application/xhtml+xml", "text/javascript", "application/javascript", "text/css":
			kind = "application/octet-stream" // a page from the output folder must not run here
		}
		serveFile(w, r, f, info, kind)
	}
}

// viewFolder is the folder that type names; an annotation of the file name wins over it.
func viewFolder(r *http.Request, name *string) (string, bool) {
	folder, there := query(r, "type")
	if !there {
		folder = "output"
	}
	p := annotated(*name, "")
	if f, rest, _ := strings.Cut(p, "/"); f != "" {
		folder, *name = f, rest
	}
	return folder, folder == "input" || folder == "output" || folder == "temp"
}

// inside reports whether a subfolder stays below its folder.
func inside(sub string) bool {
	p := path.Clean(sub)
	return !strings.HasPrefix(p, "/") && p != ".." && !strings.HasPrefix(p, "../") && !strings.ContainsRune(p, 0)
}

// serveFile sends a file as aiohttp's FileResponse does: ranges, and a tag of its time and size.
func serveFile(w http.ResponseWriter, r *http.Request, f io.ReadSeeker, info os.FileInfo, kind string) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Etag", fmt.Sprintf(`"%x-%x"`, info.ModTime().UnixNano(), info.Size()))
	http.ServeContent(w, r, info.Name(), info.ModTime(), f)
}

// viewPreview re-encodes the picture: webp unless jpeg is asked for. The webp here is lossless,
// so the quality matters to jpeg alone.
func viewPreview(w http.ResponseWriter, f io.ReadSeeker, preview, channel string) {
	format, q, _ := strings.Cut(preview, ";")
	quality := 90
	if n, err := strconv.Atoi(q); err == nil && n >= 0 {
		quality = max(1, min(100, n))
	}
	frames, alpha, err := decode(f)
	if err != nil {
		crash(w)
		return
	}
	if format == "jpeg" && !strings.Contains(channel, "a") || format == "jpeg" && channel == "" {
		b, err := encodeJPEG(frames[0], quality)
		send(w, "image/jpeg", b, err)
		return
	}
	var m image.Image = frames[0]
	if strings.Contains(channel, "a") {
		m = alpha
	}
	var b bytes.Buffer
	err = nativewebp.Encode(&b, m, nil)
	send(w, "image/webp", b.Bytes(), err)
}

// viewChannel sends the colours alone, or the transparency alone.
func viewChannel(w http.ResponseWriter, f io.ReadSeeker, channel string) {
	frames, alpha, err := decode(f)
	if err != nil {
		crash(w)
		return
	}
	var m image.Image = frames[0]
	if channel == "a" {
		only := image.NewNRGBA(alpha.Rect)
		for i := 3; i < len(only.Pix); i += 4 {
			only.Pix[i] = alpha.Pix[i]
		}
		m = only
	}
	b, err := encodePNG(m)
	send(w, "image/png", b, err)
}

func send(w http.ResponseWriter, kind string, b []byte, err error) {
	if err != nil {
		crash(w)
		return
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(b)
}
