package standin

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/draw"
	"image/gif"
	_ "image/jpeg" // formats that LoadImage reads
	"image/png"
	"io"

	_ "golang.org/x/image/bmp"
	_ "golang.org/x/image/tiff"
	_ "golang.org/x/image/webp"
)

// picture is an opaque RGB image. Pictures are never changed once made, so that nodes, cache
// and batches may share them.
type picture = *image.RGBA

// maxPixels bounds a picture (and the sum of a batch's distinct pictures): more would be an
// out-of-memory error on a real machine as well, and is one here.
const maxPixels = 1 << 26

func newPicture(w, h int) picture { return image.NewRGBA(image.Rect(0, 0, w, h)) }

func filled(w, h int, r, g, b uint8) picture {
	m := newPicture(w, h)
	for i := 0; i < len(m.Pix); i += 4 {
		m.Pix[i], m.Pix[i+1], m.Pix[i+2], m.Pix[i+3] = r, g, b, 255
	}
	return m
}

func inverted(p picture) picture {
	m := newPicture(p.Rect.Dx(), p.Rect.Dy())
	for i := 0; i < len(p.Pix); i += 4 {
		m.Pix[i], m.Pix[i+1], m.Pix[i+2], m.Pix[i+3] = 255-p.Pix[i], 255-p.Pix[i+1], 255-p.Pix[i+2], 255
	}
	return m
}

// decode reads a picture file: its frames without transparency, and the frame with it.
func decode(r io.ReadSeeker) (frames []picture, alpha *image.NRGBA, err error) {
	cfg, format, err := image.DecodeConfig(r)
	if err != nil {
		return nil, nil, err
	}
	if cfg.Width*cfg.Height > maxPixels {
		return nil, nil, errTooLarge
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return nil, nil, err
	}
	if format == "gif" {
		g, err := gif.DecodeAll(r)
		if err != nil {
			return nil, nil, err
		}
		return gifFrames(g), toNRGBA(g.Image[0]), nil
	}
	m, _, err := image.Decode(r)
	if err != nil {
		return nil, nil, err
	}
	n := toNRGBA(m)
	return []picture{opaque(n)}, n, nil
}

func gifFrames(g *gif.GIF) []picture {
	canvas := image.NewNRGBA(image.Rect(0, 0, g.Config.Width, g.Config.Height))
	var frames []picture
	for _, f := range g.Image {
		draw.Draw(canvas, f.Bounds(), f, f.Bounds().Min, draw.Over)
		frames = append(frames, opaque(canvas))
		if len(frames)*len(canvas.Pix)/4 > maxPixels {
			break
		}
	}
	return frames
}

func toNRGBA(m image.Image) *image.NRGBA {
	if n, ok := m.(*image.NRGBA); ok && n.Rect.Min == (image.Point{}) {
		return n
	}
	n := image.NewNRGBA(image.Rect(0, 0, m.Bounds().Dx(), m.Bounds().Dy()))
	draw.Draw(n, n.Rect, m, m.Bounds().Min, draw.Src)
	return n
}

// opaque drops the transparency as PIL's convert("RGB") does: the colours stay.
func opaque(n *image.NRGBA) picture {
	m := newPicture(n.Rect.Dx(), n.Rect.Dy())
	copy(m.Pix, n.Pix)
	for i := 3; i < len(m.Pix); i += 4 {
		m.Pix[i] = 255
	}
	return m
}

// mask is one channel of a picture file.
func mask(n *image.NRGBA, channel int, invert bool) *image.Gray {
	g := image.NewGray(n.Rect)
	for i := range g.Pix {
		g.Pix[i] = n.Pix[4*i+channel]
		if invert {
			g.Pix[i] = 255 - g.Pix[i]
		}
	}
	return g
}

// encodePNG writes a PNG with text chunks after its header, where ComfyUI puts the prompt and
// the workflow. texts alternate keyword and text; both are ASCII here, since Python escapes
// the rest.
func encodePNG(m image.Image, texts ...string) ([]byte, error) {
	var b bytes.Buffer
	enc := png.Encoder{CompressionLevel: png.BestSpeed}
	if err := enc.Encode(&b, m); err != nil {
		return nil, err
	}
	const header = 8 + 25 // signature and IHDR
	out := append([]byte{}, b.Bytes()[:header]...)
	for i := 0; i+1 < len(texts); i += 2 {
		out = appendChunk(out, "tEXt", []byte(texts[i]+"\x00"+texts[i+1]))
	}
	return append(out, b.Bytes()[header:]...), nil
}

func appendChunk(b []byte, kind string, data []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	start := len(b)
	b = append(append(b, kind...), data...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[start:]))
}

// pngTexts reads the tEXt chunks of a PNG in the form that encodePNG takes.
func pngTexts(b []byte) []string {
	var texts []string
	for b = b[min(8, len(b)):]; len(b) >= 12; {
		n := binary.BigEndian.Uint32(b)
		if uint64(n)+12 > uint64(len(b)) {
			break
		}
		if string(b[4:8]) == "tEXt" {
			if k, v, ok := bytes.Cut(b[8:8+n], []byte{0}); ok {
				texts = append(texts, string(k), string(v))
			}
		}
		b = b[12+n:]
	}
	return texts
}

// tick returns the context's error now and then, for loops over many rows.
func tick(ctx context.Context, y int) error {
	if y%64 == 0 {
		return ctx.Err()
	}
	return nil
}
