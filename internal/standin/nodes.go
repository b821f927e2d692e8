package standin

import (
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"strconv"
	"time"
)

// call is one execution of a node: its inputs with the links resolved, and the run it is part of.
type call struct {
	ctx  context.Context
	s    *Server
	run  *run
	node *node
	in   map[string]any
}

// result is what a node makes: one value for each output, and what its execution shows.
type result struct {
	values []any
	ui     *object
	meta   *object // of ui: the node that made it, also when another one shows it again
}

// errTooLarge is the stand-in's out-of-memory error.
var errTooLarge = &pyError{"RuntimeError", "not enough memory for an image of this size"}

// nodeFuncs does the work of each class. Values are []picture for IMAGE, *image.Gray for MASK.
var nodeFuncs = map[string]func(c *call) (result, error){
	"EmptyImage":         emptyImage,
	"LoadImage":          loadImage,
	"LoadImageMask":      loadImageMask,
	"ImageInvert":        imageInvert,
	"ImageScale":         imageScale,
	"ImageBatch":         imageBatch,
	"SaveImage":          saveImage,
	"PreviewImage":       previewImage,
	"SaveImageWebsocket": saveImageWebsocket,
	"LatchSlowImage":     slowImage,
}

func (c *call) int(name string) int {
	n, _ := c.in[name].(number)
	i, _ := strconv.Atoi(string(n))
	return i
}

func (c *call) str(name string) string {
	v, _ := c.in[name].(string)
	return v
}

// images is an IMAGE input. Where a widget's value was given instead of a link, ComfyUI's node
// fails on it too.
func (c *call) images(name string) ([]picture, error) {
	p, ok := c.in[name].([]picture)
	if !ok {
		return nil, &pyError{"AttributeError", "'" + typeName(c.in[name]) + "' object has no attribute 'shape'"}
	}
	return p, nil
}

func emptyImage(c *call) (result, error) {
	w, h, n, rgb := c.int("width"), c.int("height"), c.int("batch_size"), c.int("color")
	if w*h > maxPixels {
		return result{}, errTooLarge
	}
	p := filled(w, h, uint8(rgb>>16), uint8(rgb>>8), uint8(rgb))
	batch := make([]picture, n)
	for i := range batch {
		batch[i] = p
	}
	return result{values: []any{batch}}, nil
}

func imageInvert(c *call) (result, error) {
	in, err := c.images("image")
	if err != nil {
		return result{}, err
	}
	out, err := each(c.ctx, in, func(p picture) (picture, error) { return inverted(p), nil })
	return result{values: []any{out}}, err
}

// each maps a batch; a picture that occurs several times in a row is worked on once.
func each(ctx context.Context, in []picture, f func(picture) (picture, error)) ([]picture, error) {
	out := make([]picture, len(in))
	for i, p := range in {
		if i > 0 && p == in[i-1] {
			out[i] = out[i-1]
			continue
		}
		m, err := f(p)
		if err = errors.Join(err, ctx.Err()); err != nil {
			return nil, err
		}
		out[i] = m
	}
	return out, nil
}

func imageScale(c *call) (result, error) {
	in, err := c.images("image")
	if err != nil {
		return result{}, err
	}
	w, h := c.int("width"), c.int("height")
	if w == 0 && h == 0 || len(in) == 0 {
		return result{values: []any{in}}, nil
	}
	pw, ph := in[0].Rect.Dx(), in[0].Rect.Dy()
	if w == 0 {
		w = max(1, (pw*h+ph/2)/ph)
	}
	if h == 0 {
		h = max(1, (ph*w+pw/2)/pw)
	}
	if w*h > maxPixels || w*ph > maxPixels {
		return result{}, errTooLarge
	}
	// Every picture is scaled even if it is the same one again, which takes as long as it would
	// elsewhere: this is the work that a busy queue is made of.
	out := make([]picture, len(in))
	for i, p := range in {
		if i > 0 && i*w*h > maxPixels*4 {
			return result{}, errTooLarge
		}
		if c.str("crop") == "center" {
			p = centered(p, w, h)
		}
		if out[i], err = scaled(c.ctx, p, w, h, c.str("upscale_method")); err != nil {
			return result{}, err
		}
	}
	return result{values: []any{out}}, nil
}

// imageBatch joins two batches; the second is scaled to the size of the first.
func imageBatch(c *call) (result, error) {
	a, err := c.images("image1")
	if err != nil {
		return result{}, err
	}
	b, err := c.images("image2")
	if err != nil || len(a) == 0 {
		return result{values: []any{b}}, err
	}
	w, h := a[0].Rect.Dx(), a[0].Rect.Dy()
	if len(b)*w*h > maxPixels*4 {
		return result{}, errTooLarge
	}
	b, err = each(c.ctx, b, func(p picture) (picture, error) {
		if p.Rect == a[0].Rect {
			return p, nil
		}
		return scaled(c.ctx, centered(p, w, h), w, h, "bilinear")
	})
	return result{values: []any{append(append([]picture{}, a...), b...)}}, err
}

// load opens a picture file by its annotated name.
func (c *call) load() ([]picture, *image.NRGBA, error) {
	path := annotated(c.str("image"), "input")
	f, err := c.s.open(path)
	if err != nil {
		return nil, nil, &pyError{"FileNotFoundError", "[Errno 2] No such file or directory: " + repr(c.s.abs(path))}
	}
	defer f.Close()
	frames, alpha, err := decode(f)
	if errors.Is(err, errTooLarge) {
		return nil, nil, err
	}
	if err != nil {
		return nil, nil, &pyError{"PIL.UnidentifiedImageError", "cannot identify image file " + repr(c.s.abs(path))}
	}
	return frames, alpha, nil
}

func loadImage(c *call) (result, error) {
	frames, alpha, err := c.load()
	if err != nil {
		return result{}, err
	}
	m := image.NewGray(image.Rect(0, 0, 64, 64)) // as there: no transparency, a small empty mask
	if !alpha.Opaque() {
		m = mask(alpha, 3, true)
	}
	return result{values: []any{frames, m}}, nil
}

func loadImageMask(c *call) (result, error) {
	_, alpha, err := c.load()
	if err != nil {
		return result{}, err
	}
	channel := map[string]int{"red": 0, "green": 1, "blue": 2, "alpha": 3}[c.str("channel")]
	return result{values: []any{mask(alpha, channel, channel == 3)}}, nil
}

// saveImageWebsocket sends the pictures as whole PNGs where previews go.
func saveImageWebsocket(c *call) (result, error) {
	in, err := c.images("images")
	if err != nil {
		return result{}, err
	}
	for i, p := range in {
		b, err := encodePNG(p)
		if err != nil {
			return result{}, err
		}
		c.run.progress(c.node.id, i, len(in), "image/png", b)
		if err := c.ctx.Err(); err != nil {
			return result{}, err
		}
	}
	return result{ui: obj()}, nil
}

// slowImage paints the picture in from the top, a step at a time, with the progress events and
// previews of a sampler. The result is the picture as it came.
func slowImage(c *call) (result, error) {
	in, err := c.images("image")
	if err != nil {
		return result{}, err
	}
	if len(in) == 0 {
		return result{}, &pyError{"ValueError", "an empty batch"}
	}
	small, err := thumbnail(c.ctx, in[0])
	if err != nil {
		return result{}, err
	}
	steps := c.int("steps")
	for i := 1; i <= steps; i++ {
		select {
		case <-c.ctx.Done():
			return result{}, c.ctx.Err()
		case <-time.After(time.Duration(c.int("step_ms")) * time.Millisecond):
		}
		b, err := encodeJPEG(painted(small, i, steps), 80)
		if err != nil {
			return result{}, err
		}
		c.run.progress(c.node.id, i, steps, "image/jpeg", b)
	}
	return result{values: []any{in}}, nil
}

// previewSize is the longest side of a live preview in ComfyUI.
const previewSize = 512

func thumbnail(ctx context.Context, p picture) (picture, error) {
	w, h := p.Rect.Dx(), p.Rect.Dy()
	if m := max(w, h); m > previewSize {
		return scaled(ctx, p, max(1, w*previewSize/m), max(1, h*previewSize/m), "area")
	}
	return p, nil
}

// painted is the preview after step i of n: the upper part done, the rest in the dark.
func painted(p picture, i, n int) picture {
	m := newPicture(p.Rect.Dx(), p.Rect.Dy())
	copy(m.Pix, p.Pix)
	for y := p.Rect.Dy() * i / n; y < p.Rect.Dy(); y++ {
		for x := range p.Rect.Dx() {
			c := p.RGBAAt(x, y)
			m.SetRGBA(x, y, color.RGBA{c.R / 5, c.G / 5, c.B / 5, 255})
		}
	}
	return m
}

// describe prints a value for the current_inputs of an error, as Python's str would.
func describe(v any) any {
	switch v := v.(type) {
	case []picture:
		if len(v) > 0 {
			return fmt.Sprintf("tensor of %d×%d×%d×3", len(v), v[0].Rect.Dy(), v[0].Rect.Dx())
		}
		return "tensor"
	case *image.Gray:
		return "tensor"
	}
	return v
}
