package standin

import (
	"context"
	"math"
)

// tap says how one output pixel is mixed from a run of input pixels.
type tap struct {
	start   int
	weights []float32 // sum 1
}

// scaled resizes a picture by one of ComfyUI's methods. Lanczos widens with the reduction, as
// PIL's does; bilinear and bicubic do not, as torch's do not; area averages.
func scaled(ctx context.Context, p picture, w, h int, method string) (picture, error) {
	xs, ys := taps(p.Rect.Dx(), w, method), taps(p.Rect.Dy(), h, method)
	mid := newPicture(w, p.Rect.Dy())
	for y := range p.Rect.Dy() {
		if err := tick(ctx, y); err != nil {
			return nil, err
		}
		src, dst := p.Pix[y*p.Stride:], mid.Pix[y*mid.Stride:]
		for x, t := range xs {
			var r, g, b float32
			for i, k := range t.weights {
				s := src[4*(t.start+i):]
				r, g, b = r+k*float32(s[0]), g+k*float32(s[1]), b+k*float32(s[2])
			}
			dst[4*x], dst[4*x+1], dst[4*x+2], dst[4*x+3] = clamp(r), clamp(g), clamp(b), 255
		}
	}
	out := newPicture(w, h)
	sum := make([]float32, 4*w)
	for y, t := range ys {
		if err := tick(ctx, y); err != nil {
			return nil, err
		}
		clear(sum)
		for i, k := range t.weights {
			row := mid.Pix[(t.start+i)*mid.Stride:][:len(sum)]
			for x, v := range row {
				sum[x] += k * float32(v)
			}
		}
		dst := out.Pix[y*out.Stride:]
		for x, v := range sum {
			dst[x] = clamp(v)
		}
	}
	return out, nil
}

func clamp(v float32) uint8 { return uint8(max(0, min(255, v+0.5))) }

func taps(from, to int, method string) []tap {
	ratio := float64(from) / float64(to)
	all := make([]tap, to)
	for i := range all {
		center := (float64(i) + 0.5) * ratio
		switch method {
		case "nearest-exact":
			all[i] = tap{min(int(center), from-1), []float32{1}}
		case "area":
			lo, hi := int(float64(i)*ratio), int(math.Ceil(float64(i+1)*ratio))
			all[i] = kernelTap(lo, min(hi, from), from, func(int) float64 { return 1 })
		case "bilinear":
			all[i] = sampled(center, 1, 1, from, func(x float64) float64 { return 1 - x })
		case "bicubic":
			all[i] = sampled(center, 2, 1, from, cubic)
		default:
			all[i] = sampled(center, 3, max(1, ratio), from, lanczos)
		}
	}
	return all
}

// sampled takes the pixels within support·stretch of the centre, weighted by their distance.
func sampled(center, support, stretch float64, n int, kernel func(x float64) float64) tap {
	lo, hi := int(math.Floor(center-support*stretch)), int(math.Ceil(center+support*stretch))
	return kernelTap(lo, hi, n, func(i int) float64 {
		if x := math.Abs(float64(i)+0.5-center) / stretch; x < support {
			return kernel(x)
		}
		return 0
	})
}

// kernelTap normalises the weights of the pixels lo to hi-1; those beyond the edge count for
// the pixel at the edge.
func kernelTap(lo, hi, n int, weight func(i int) float64) tap {
	start, end := min(max(lo, 0), n-1), min(max(hi, 1), n)
	k := make([]float64, max(end-start, 1))
	total := 0.0
	for i := lo; i < hi; i++ {
		w := weight(i)
		k[min(max(i, start), end-1)-start] += w
		total += w
	}
	if total == 0 {
		k[0], total = 1, 1
	}
	t := tap{start: start, weights: make([]float32, len(k))}
	for i, w := range k {
		t.weights[i] = float32(w / total)
	}
	return t
}

func cubic(x float64) float64 {
	const a = -0.75
	if x < 1 {
		return (a+2)*x*x*x - (a+3)*x*x + 1
	}
	return a*x*x*x - 5*a*x*x + 8*a*x - 4*a
}

func lanczos(x float64) float64 {
	if x == 0 {
		return 1
	}
	x *= math.Pi
	return 3 * math.Sin(x) * math.Sin(x/3) / (x * x)
}

// centered cuts the middle out so that the rest has the proportions of w:h.
func centered(p picture, w, h int) picture {
	pw, ph := p.Rect.Dx(), p.Rect.Dy()
	old, want := float64(pw)/float64(ph), float64(w)/float64(h)
	x, y := 0, 0
	if old > want {
		x = int(math.Round((float64(pw) - float64(pw)*(want/old)) / 2))
	} else if old < want {
		y = int(math.Round((float64(ph) - float64(ph)*(old/want)) / 2))
	}
	out := newPicture(max(pw-2*x, 1), max(ph-2*y, 1))
	for row := range out.Rect.Dy() {
		from := p.PixOffset(min(x, pw-1), min(row+y, ph-1))
		copy(out.Pix[row*out.Stride:][:out.Stride], p.Pix[from:])
	}
	return out
}
