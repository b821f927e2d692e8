package standin

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"io/fs"
	"math/rand/v2"
	"path"
	"strconv"
	"strings"
	"time"
)

func encodeJPEG(m image.Image, quality int) ([]byte, error) {
	var b bytes.Buffer
	err := jpeg.Encode(&b, m, &jpeg.Options{Quality: quality})
	return b.Bytes(), err
}

func saveImage(c *call) (result, error) { return c.save("output", c.str("filename_prefix")) }

// previewImage saves to the temp folder under a name that nobody has used.
func previewImage(c *call) (result, error) {
	b := make([]byte, 5)
	for i := range b {
		b[i] = byte('a' + rand.IntN(26))
	}
	return c.save("temp", "ComfyUI_temp_"+string(b))
}

func (c *call) save(folder, prefix string) (result, error) {
	in, err := c.images("images")
	if err != nil {
		return result{}, err
	}
	if len(in) == 0 {
		return result{}, &pyError{"IndexError", "index 0 is out of bounds for dimension 0 with size 0"}
	}
	sub, name, counter, err := c.s.savePath(folder, prefix, in[0].Rect.Dx(), in[0].Rect.Dy())
	if err != nil {
		return result{}, err
	}
	var images list
	var last picture
	var b []byte
	for i, p := range in {
		if err := c.ctx.Err(); err != nil {
			return result{}, err
		}
		if p != last {
			if b, err = encodePNG(p, c.run.texts()...); err != nil {
				return result{}, err
			}
			last = p
		}
		file := fmt.Sprintf("%s_%05d_.png", strings.ReplaceAll(name, "%batch_num%", strconv.Itoa(i)), counter)
		if err := c.s.root.WriteFile(path.Join(folder, sub, file), b, 0o644); err != nil {
			return result{}, &pyError{"OSError", "cannot write " + repr(file)}
		}
		images = append(images, obj("filename", file, "subfolder", sub, "type", folder))
		counter++
	}
	return result{ui: obj("images", images)}, nil
}

// savePath finds the subfolder, the name without its number, and the next number. The prefix
// may hold %width%, %height% and the parts of the date, and slashes: subfolders, made on demand.
func (s *Server) savePath(folder, prefix string, w, h int) (sub, name string, counter int, err error) {
	now := time.Now()
	prefix = strings.NewReplacer("%width%", strconv.Itoa(w), "%height%", strconv.Itoa(h), "%year%", now.Format("2006"),
		"%month%", now.Format("01"), "%day%", now.Format("02"), "%hour%", now.Format("15"), "%minute%", now.Format("04"),
		"%second%", now.Format("05")).Replace(prefix)
	if strings.HasPrefix(prefix, "/") {
		prefix = "../" + prefix // an absolute path leaves the folder
	}
	full := path.Join(folder, prefix)
	dir, name := path.Split(full)
	dir = path.Clean(dir)
	if dir != folder && !strings.HasPrefix(dir, folder+"/") {
		return "", "", 0, &pyError{"Exception", "**** ERROR: Saving image outside the output folder is not allowed.\n full_output_folder: " +
			s.abs(dir) + "\n         output_dir: " + s.abs(folder) + "\n         commonpath: " + s.dir}
	}
	if strings.ContainsRune(full, 0) {
		return "", "", 0, &pyError{"ValueError", "embedded null byte"}
	}
	if err := s.root.MkdirAll(dir, 0o755); err != nil {
		return "", "", 0, &pyError{"OSError", "cannot make the folder " + repr(s.abs(dir))}
	}
	return strings.TrimPrefix(strings.TrimPrefix(dir, folder), "/"), name, s.nextCounter(dir, name), nil
}

// nextCounter is one more than the highest number used with this name.
func (s *Server) nextCounter(dir, name string) int {
	d, err := s.root.Open(dir)
	if err != nil {
		return 1
	}
	defer d.Close()
	entries, err := d.ReadDir(-1)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 1
	}
	highest := 0
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), name+"_")
		if !ok {
			continue
		}
		digits, _, _ := strings.Cut(rest, "_")
		if n, err := strconv.Atoi(digits); err == nil {
			highest = max(highest, n)
		}
	}
	return highest + 1
}
