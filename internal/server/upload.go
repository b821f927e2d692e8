package server

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"path"
	"strings"
	"unicode/utf8"

	"comfylatch/internal/account"
	"comfylatch/internal/comfy"
	"comfylatch/internal/isolate"
)

// upload passes a file on to ComfyUI. Administrators' go as they are; for
// others the form is read and written anew while it streams, so that what was
// checked is what ComfyUI reads. A form that is refused half-way is broken off,
// and ComfyUI, which reads it whole first, writes nothing.
func (s *Server) upload(w http.ResponseWriter, r *http.Request, x *exchange) {
	defer s.Cache.Drop(nodeDefinitions) // they list the input folder
	if x.who.Role >= account.Admin {
		s.pass(w, r, x)
		return
	}
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" || params["boundary"] == "" || r.Header.Get("Content-Encoding") != "" {
		s.Site.BadRequest(w, r, "A file is uploaded as multipart/form-data.")
		return
	}
	pr, pw := io.Pipe()
	out := r.Clone(r.Context())
	form := multipart.NewWriter(pw)
	out.Header.Set("Content-Type", form.FormDataContentType())
	out.Body, out.ContentLength, out.TransferEncoding = pr, -1, nil
	refused := make(chan error, 1)
	body := patient(w, r)
	go func() {
		err := copyForm(form, multipart.NewReader(body, params["boundary"]), x.who)
		if err == nil {
			err = form.Close()
		}
		refused <- err
		pw.CloseWithError(err)
	}()
	c := &capture{header: make(http.Header)}
	s.comfyUI(c, out, x.req, x)
	pr.CloseWithError(io.ErrClosedPipe) // ComfyUI may answer before it has read all
	select {
	case err = <-refused:
	default:
		body.stop()
		err = <-refused
	}
	var bad *formError
	if errors.As(err, &bad) {
		s.forbidForm(w, r, x, bad)
		return
	}
	c.send(w, r, nil)
}

func (s *Server) forbidForm(w http.ResponseWriter, r *http.Request, x *exchange, e *formError) {
	x.refusal = e.text
	w.Header().Set("Connection", "close") // the rest of the body is not read
	if e.forbidden {
		s.Site.Forbidden(w, r, x.visit(), e.text)
		return
	}
	s.Site.BadRequest(w, r, e.text)
}

// formError refuses a form: 403 when somebody else may send it, 400 else.
type formError struct {
	text      string
	forbidden bool
}

func (e *formError) Error() string { return e.text }

const (
	maxFields = 16
	maxField  = 16 << 10 // bytes of a field that is not a file
)

// copyForm writes every part anew, in order.
func copyForm(to *multipart.Writer, from *multipart.Reader, who account.Principal) error {
	seen := make(map[string]bool)
	for {
		part, err := from.NextRawPart()
		if err == io.EOF {
			return addFolder(to, seen, who)
		}
		if err != nil {
			return &formError{text: "The form could not be read."}
		}
		name, file, err := partName(part)
		if err != nil {
			return err
		}
		// ComfyUI takes the first of several, other readers the last.
		if seen[name] || len(seen) >= maxFields {
			return &formError{text: fmt.Sprintf("The form has %q twice, or too many fields.", cut(name, 32))}
		}
		seen[name] = true
		if err := copyPart(to, part, name, file, who); err != nil {
			return err
		}
	}
}

func partName(p *multipart.Part) (name, file string, err error) {
	disposition, params, err := mime.ParseMediaType(p.Header.Get("Content-Disposition"))
	if err != nil || disposition != "form-data" || params["name"] == "" || p.Header.Get("Content-Transfer-Encoding") != "" || len(p.Header.Values("Content-Disposition")) != 1 {
		return "", "", &formError{text: "The form could not be read."}
	}
	return params["name"], params["filename"], nil
}

func copyPart(to *multipart.Writer, p *multipart.Part, name, file string, who account.Principal) error {
	h := make(textproto.MIMEHeader)
	if name == "image" {
		if err := checkFileName(file); err != nil {
			return err
		}
		h.Set("Content-Disposition", multipart.FileContentDisposition(name, file))
		h.Set("Content-Type", "application/octet-stream")
		w, err := to.CreatePart(h)
		if err == nil {
			_, err = io.Copy(w, p)
		}
		return err
	}
	value, err := io.ReadAll(io.LimitReader(p, maxField+1))
	if err != nil || !utf8.Valid(value) {
		return &formError{text: "The form could not be read."}
	}
	if len(value) > maxField || file != "" {
		return &formError{text: fmt.Sprintf("The field %q is too long, or a file.", cut(name, 32))}
	}
	text, known, err := checkField(name, string(value), who)
	if err != nil || !known {
		return err
	}
	return to.WriteField(name, text)
}

// addFolder sends a guest's upload into their own folder where the form named
// none.
func addFolder(to *multipart.Writer, seen map[string]bool, who account.Principal) error {
	if who.Role == account.Guest && !seen["subfolder"] {
		return to.WriteField("subfolder", isolate.Folder(who))
	}
	return nil
}

// checkField gives a field as it is to be sent. Those that ComfyUI does not
// have stay here: the name "_charset_", for one, would change how aiohttp reads
// all the others (multipart.py, MultipartReader.next).
func checkField(name, value string, who account.Principal) (text string, known bool, err error) {
	guest := who.Role == account.Guest
	switch name {
	case "type":
		if value != "input" && value != "temp" && value != "" && (guest || value != "output") {
			return "", true, &formError{text: "Files can be uploaded to input or temp.", forbidden: true}
		}
	case "subfolder":
		if climbs(value) {
			return "", true, &formError{text: "The subfolder leads out of ComfyUI's folders."}
		}
		if guest {
			return strings.TrimSuffix(isolate.Folder(who)+"/"+strings.Trim(value, "/"), "/"), true, nil
		}
	case "overwrite":
		if value != "" && value != "true" && value != "1" && value != "false" && value != "0" {
			return "", true, &formError{text: "overwrite is true or false."}
		}
		if !guest { // the file may be another's; ComfyUI then finds a new name
			return "false", true, nil
		}
	case "original_ref":
		return value, true, checkReference(value, who)
	default:
		return "", false, nil
	}
	return value, true, nil
}

// checkReference looks at the picture that a mask belongs to: ComfyUI copies
// its pixels and its workflow into the new file.
func checkReference(value string, who account.Principal) error {
	v, err := comfy.ParseJSON([]byte(value))
	ref, ok := v.(comfy.Object)
	text := func(key string) string {
		member, there := ref.Get(key)
		s, isText := member.(string)
		ok = ok && (isText || !there)
		return s
	}
	name, sub, kind := text("filename"), text("subfolder"), text("type")
	switch {
	case err != nil || !ok:
		return &formError{text: "original_ref is not a reference to a picture."}
	case climbs(name) || climbs(sub):
		return &formError{text: "original_ref leads out of ComfyUI's folders."}
	case who.Role == account.Guest && !mayReadFile(who, name, sub, cmp.Or(kind, "output")):
		return &formError{text: "Guests can mask the pictures that they made.", forbidden: true}
	}
	return nil
}

func climbs(name string) bool {
	return strings.Contains(name, "..") || strings.HasPrefix(name, "/") || strings.ContainsAny(name, "\\:\x00\r\n")
}

// media are the endings of files that ComfyUI's nodes load and that hold no
// code. Pickles do (CVE-2026-68771), so they are an administrator's.
var media = map[string]bool{
	".png": true, ".jpg": true, ".jpeg": true, ".webp": true, ".gif": true, ".bmp": true, ".tif": true, ".tiff": true, ".avif": true, ".heic": true, ".exr": true, ".hdr": true,
	".mp4": true, ".webm": true, ".mov": true, ".mkv": true, ".avi": true, ".m4v": true,
	".mp3": true, ".wav": true, ".flac": true, ".ogg": true, ".opus": true, ".m4a": true, ".aac": true,
	".glb": true, ".gltf": true, ".obj": true, ".fbx": true, ".stl": true, ".ply": true, ".splat": true, ".usdz": true,
	".txt": true, ".srt": true, ".latent": true,
}

func checkFileName(name string) error {
	if name == "" || climbs(name) || strings.Contains(name, "/") || strings.HasPrefix(name, ".") || len(name) > 255 {
		return &formError{text: "The file has no name, or one that is not allowed."}
	}
	if !media[strings.ToLower(path.Ext(name))] {
		return &formError{text: "Only an administrator can upload files of this kind.", forbidden: true}
	}
	return nil
}
