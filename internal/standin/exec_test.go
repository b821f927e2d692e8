package standin

import (
	"bytes"
	"image/color"
	"image/png"
	"slices"
	"strings"
	"testing"
)

// cachedNodes are the nodes that a finished prompt took from the cache.
func cachedNodes(e *object) string {
	messages := e.object("status").vals["messages"].([]any)
	return string(dumps(messages[1].([]any)[1].(*object).vals["nodes"]))
}

func TestTheSameGraphTwiceComesFromTheCache(t *testing.T) {
	l := start(t, Config{})
	l.entry(t, l.prompt(t, paint(7)))
	if got := cachedNodes(l.entry(t, l.prompt(t, paint(7)))); got != `["1", "2"]` {
		t.Errorf("cached %s, want both nodes", got)
	}
	l.entry(t, l.prompt(t, paint(8)))
	if got := cachedNodes(l.entry(t, l.prompt(t, paint(7)))); got != `[]` {
		t.Errorf("cached %s after another prompt, want nothing", got)
	}
}

func TestFreeMemoryEmptiesTheCache(t *testing.T) {
	l := start(t, Config{})
	l.entry(t, l.prompt(t, paint(7)))
	l.call(t, "POST", "/free", `{"free_memory":true}`)
	for l.free.Load() {
	}
	if got := cachedNodes(l.entry(t, l.prompt(t, paint(7)))); got != `[]` {
		t.Errorf("cached %s, want nothing", got)
	}
}

func TestChangedFileIsLoadedAnew(t *testing.T) {
	l := start(t, Config{})
	graph := `{"1":{"class_type":"LoadImage","inputs":{"image":"a.png"}},"2":{"class_type":"PreviewImage","inputs":{"images":["1",0]}}}`
	for i, want := range []string{`[]`, `["1", "2"]`, `[]`} {
		c := uint8(i / 2)
		b, err := encodePNG(filled(2, 2, c, c, c))
		if err != nil {
			t.Fatal(err)
		}
		if err := l.root.WriteFile("input/a.png", b, 0o644); err != nil {
			t.Fatal(err)
		}
		if got := cachedNodes(l.entry(t, l.prompt(t, graph))); got != want {
			t.Errorf("run %d cached %s, want %s", i, got, want)
		}
	}
}

func TestSavedPictureHoldsPromptAndWorkflow(t *testing.T) {
	l := start(t, Config{})
	l.entry(t, l.prompt(t, paint(0x102030), `"extra_data":{"extra_pnginfo":{"workflow":{"name":"Grüße"}}}`))
	b, err := l.root.ReadFile("output/t_00001_.png")
	if err != nil {
		t.Fatal(err)
	}
	texts := pngTexts(b)
	if len(texts) != 4 || texts[0] != "prompt" || !strings.HasPrefix(texts[1], `{"1": {"class_type": "EmptyImage"`) ||
		texts[2] != "workflow" || texts[3] != `{"name": "Gr\u00fc\u00dfe"}` {
		t.Errorf("texts %q", texts)
	}
	m, err := png.Decode(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if m.Bounds().Dx() != 16 || m.Bounds().Dy() != 8 || m.At(3, 3) != (color.RGBA{0x10, 0x20, 0x30, 255}) {
		t.Errorf("a picture of %v with %v", m.Bounds(), m.At(3, 3))
	}
}

func TestNodesCompute(t *testing.T) {
	l := start(t, Config{})
	graph := `{"a":{"class_type":"EmptyImage","inputs":{"width":8,"height":8,"batch_size":2,"color":16777215}},
		"i":{"class_type":"ImageInvert","inputs":{"image":["a",0]}},
		"b":{"class_type":"EmptyImage","inputs":{"width":4,"height":16,"batch_size":1,"color":255}},
		"s":{"class_type":"ImageScale","inputs":{"image":["b",0],"upscale_method":"lanczos","width":0,"height":8,"crop":"disabled"}},
		"j":{"class_type":"ImageBatch","inputs":{"image1":["i",0],"image2":["s",0]}},
		"o":{"class_type":"SaveImage","inputs":{"images":["j",0],"filename_prefix":"sub/n"}}}`
	e := l.entry(t, l.prompt(t, graph))
	if got := strings.Count(string(dumps(e.object("outputs"))), `"subfolder": "sub"`); got != 3 {
		t.Fatalf("%d pictures in sub, want 3: %s", got, dumps(e))
	}
	for name, want := range map[string]color.RGBA{"n_00001_.png": {0, 0, 0, 255}, "n_00003_.png": {0, 0, 255, 255}} {
		f, err := l.root.Open("output/sub/" + name)
		if err != nil {
			t.Fatal(err)
		}
		m, err := png.Decode(f)
		f.Close()
		if err != nil || m.Bounds().Dx() != 8 || m.Bounds().Dy() != 8 || m.At(4, 4) != want {
			t.Errorf("%s is %v with %v (%v), want 8×8 with %v", name, m.Bounds(), m.At(4, 4), err, want)
		}
	}
}

func TestFailingNodesEndInAnErrorInTheHistory(t *testing.T) {
	l := start(t, Config{})
	for name, graph := range map[string]string{
		"prefix leaves the folder": strings.Replace(paint(1), `"t"`, `"../../t"`, 1),
		"absolute prefix":          strings.Replace(paint(1), `"t"`, `"/etc/t"`, 1),
		"a folder as a picture":    `{"1":{"class_type":"LoadImage","inputs":{"image":""}},"2":{"class_type":"PreviewImage","inputs":{"images":["1",0]}}}`,
		"a value where a link is":  `{"2":{"class_type":"PreviewImage","inputs":{"images":"foo"}}}`,
		"too large": `{"1":{"class_type":"EmptyImage","inputs":{"width":16384,"height":16384,"batch_size":1,"color":0}},
			"2":{"class_type":"PreviewImage","inputs":{"images":["1",0]}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			e := l.entry(t, l.prompt(t, graph))
			if got := e.object("status").str("status_str"); got != "error" {
				t.Errorf("ended in %s: %s", got, dumps(e))
			}
		})
	}
}

func TestScalingKeepsAPlainColourAndAverages(t *testing.T) {
	for _, method := range []string{"nearest-exact", "bilinear", "area", "bicubic", "lanczos"} {
		for _, size := range [][2]int{{1, 1}, {3, 5}, {7, 2}, {40, 31}} {
			m, err := scaled(t.Context(), filled(7, 5, 10, 200, 255), size[0], size[1], method)
			if err != nil {
				t.Fatal(err)
			}
			want := filled(size[0], size[1], 10, 200, 255)
			if !slices.Equal(m.Pix, want.Pix) {
				t.Errorf("%s to %v changes a plain colour: %v", method, size, m.Pix[:4])
			}
		}
	}
	p := newPicture(2, 1)
	copy(p.Pix, []byte{0, 0, 0, 255, 100, 200, 50, 255})
	m, err := scaled(t.Context(), p, 1, 1, "area")
	if err != nil || !slices.Equal(m.Pix, []byte{50, 100, 25, 255}) {
		t.Errorf("the average is %v (%v)", m.Pix, err)
	}
}
