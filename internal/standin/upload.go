package standin

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"image"
	"io"
	"io/fs"
	"mime"
	"mime/multipart"
	"net/http"
	"path"
	"strings"
)

// upload is a multipart form with its picture on disk already.
type upload struct {
	fields map[string]string // the first of each name
	file   string            // below Dir, under a name of its own
	name   string            // as the client gave it
	sum    string
	size   int64
	isText bool // the image field was not a file
}

func (s *Server) postUploadImage(w http.ResponseWriter, r *http.Request, _ []string) {
	s.upload(w, r, func(u upload, dest string) error { return s.root.Rename(u.file, dest) })
}

// postUploadMask saves a copy of the picture that original_ref names with the upload's
// transparency: anybody's picture, with the texts in it.
func (s *Server) postUploadMask(w http.ResponseWriter, r *http.Request, _ []string) {
	s.upload(w, r, s.saveMask)
}

// upload streams the form to disk, finds the name to save under, and saves.
func (s *Server) upload(w http.ResponseWriter, r *http.Request, save func(u upload, dest string) error) {
	u, err := s.readForm(r)
	if u.file != "" {
		defer func() { _ = s.root.Remove(u.file) }() // gone already when it was renamed
	}
	switch {
	case err != nil:
		bodyError(w, err)
		return
	case u.isText || u.file != "" && u.name == "":
		crash(w)
		return
	case u.file == "":
		empty(w, http.StatusBadRequest)
		return
	}
	folder, there := u.fields["type"]
	if !there {
		folder = "input"
	}
	if folder != "input" && folder != "output" && folder != "temp" {
		crash(w)
		return
	}
	sub := u.fields["subfolder"]
	if sub == "" {
		sub = "."
	}
	if strings.ContainsRune(sub+u.name, 0) {
		crash(w)
		return
	}
	if !inside(sub) || !inside(path.Join(sub, u.name)) {
		empty(w, http.StatusBadRequest)
		return
	}
	name, err := s.place(u, path.Join(folder, sub), save)
	if err != nil {
		s.logLine("upload failed: " + err.Error())
		crash(w)
		return
	}
	answer(w, http.StatusOK, obj("name", name, "subfolder", u.fields["subfolder"], "type", folder))
}

// place saves the upload in dir. A file of that name with other bytes makes it "name (1).png";
// one with the same bytes is taken for the upload itself.
func (s *Server) place(u upload, dir string, save func(u upload, dest string) error) (string, error) {
	s.uploads.Lock()
	defer s.uploads.Unlock()
	if err := s.root.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	name := u.name
	if o := u.fields["overwrite"]; o != "true" && o != "1" {
		ext := path.Ext(name)
		base := strings.TrimSuffix(name, ext)
		for i := 1; s.exists(path.Join(dir, name)); i++ {
			if s.sameBytes(path.Join(dir, name), u) {
				return name, nil
			}
			name = fmt.Sprintf("%s (%d)%s", base, i, ext)
		}
	}
	return name, save(u, path.Join(dir, name))
}

func (s *Server) sameBytes(p string, u upload) bool {
	info, err := s.root.Stat(p)
	if err != nil || info.Size() != u.size {
		return false
	}
	f, err := s.root.Open(p)
	if err != nil {
		return false
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return err == nil && hex.EncodeToString(h.Sum(nil)) == u.sum
}

// readForm reads the form. The picture may come before the fields that say where it goes, so it
// waits in the temp folder meanwhile.
func (s *Server) readForm(r *http.Request) (u upload, err error) {
	u.fields = map[string]string{}
	mr, err := r.MultipartReader()
	if err != nil {
		err = r.ParseForm() // not multipart: at most a text where the picture should be
		u.isText = r.PostForm.Has("image")
		return u, err
	}
	for {
		part, err := mr.NextRawPart()
		if errors.Is(err, io.EOF) {
			return u, nil
		}
		if err != nil {
			return u, err
		}
		if err := s.readPart(&u, part); err != nil {
			return u, err
		}
	}
}

const maxField = 1 << 20

func (s *Server) readPart(u *upload, part *multipart.Part) error {
	name, isFile := part.FormName(), strings.Contains(part.Header.Get("Content-Disposition"), "filename")
	if name == "image" && u.file == "" && !u.isText {
		if !isFile {
			u.isText = true
			_, err := io.Copy(io.Discard, part)
			return err
		}
		return s.spool(u, part)
	}
	b, err := io.ReadAll(io.LimitReader(part, maxField))
	if err != nil {
		return err
	}
	if _, there := u.fields[name]; !there {
		u.fields[name] = string(b)
	}
	_, err = io.Copy(io.Discard, part)
	return err
}

func (s *Server) spool(u *upload, part *multipart.Part) error {
	u.file = "temp/" + uploadPrefix + newHex()
	// Not part.FileName, which drops folders: aiohttp keeps them, but for slashes in front and
	// backslashes anywhere, and ComfyUI joins them.
	_, params, _ := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	u.name = strings.TrimLeft(strings.ReplaceAll(params["filename"], `\`, ""), "/")
	f, err := s.root.Create(u.file)
	if err != nil {
		return err
	}
	h := sha256.New()
	u.size, err = io.Copy(io.MultiWriter(f, h), part)
	u.sum = hex.EncodeToString(h.Sum(nil))
	return errors.Join(err, f.Close())
}

func (s *Server) saveMask(u upload, dest string) error {
	v, err := parse(strings.NewReader(u.fields["original_ref"]))
	if err != nil {
		return fmt.Errorf("read original_ref: %w", err)
	}
	ref, _ := v.(*object)
	if _, there := ref.get("filename"); !there {
		return errors.New("original_ref has no filename")
	}
	folder := ref.str("type")
	if folder == "" {
		folder = "output"
	}
	name := ref.str("filename")
	if strings.HasPrefix(name, "/") || strings.Contains(name, "..") || !inside(path.Join(".", ref.str("subfolder"))) {
		return nil // as there: nothing is saved, and nobody is told
	}
	f, err := s.open(path.Join(folder, ref.str("subfolder"), name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	masked, err := s.masked(b, u.file)
	if err != nil {
		return err
	}
	return s.root.WriteFile(dest, masked, 0o644)
}

// masked is the original with the transparency of the upload and its own texts.
func (s *Server) masked(original []byte, uploaded string) ([]byte, error) {
	_, colours, err := decode(bytes.NewReader(original))
	if err != nil {
		return nil, err
	}
	f, err := s.root.Open(uploaded)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	_, alpha, err := decode(f)
	if err != nil {
		return nil, err
	}
	out := image.NewNRGBA(colours.Rect)
	copy(out.Pix, colours.Pix)
	for y := range out.Rect.Dy() {
		for x := range out.Rect.Dx() {
			out.Pix[out.PixOffset(x, y)+3] = alpha.NRGBAAt(x, y).A
		}
	}
	return encodePNG(out, pngTexts(original)...)
}
