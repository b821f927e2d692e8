package browsertest

import (
	"bytes"
	"cmp"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	cd "github.com/chromedp/chromedp"

	"comfylatch/internal/standin"
)

// TestPictures makes the pictures of docs/images, where they are wanted.
func TestPictures(t *testing.T) {
	if os.Getenv("COMFYLATCH_SCREENSHOTS") == "" {
		t.Skip("no pictures are wanted: set COMFYLATCH_SCREENSHOTS")
	}
	needBrowser(t)
	root := frontEnd("1.45.15")
	if root == "" {
		t.Skip("no frontend of ComfyUI: set COMFYLATCH_FRONTENDS")
	}
	c := startStandIn(t, standin.Version0_24_0, root)
	for name, s := range map[string]size{"phone": phone, "desktop": {1120, 700}} {
		g := startGate(t, c, "--guest", "--api-key", apiKey)
		p := openTab(t, s)
		shoot := func(what string) {
			t.Helper()
			p.small(what + "-" + name)
		}
		p.open(g.url + "/login")
		p.typeInto("#username", ownerName)
		p.typeInto("#password", ownerPassword)
		p.wait("the strength", shown("#strength"))
		shoot("set-up")
		p.setUp(g)
		p.open(g.url + "/logout")
		p.press("#submit")
		p.wait("the login", atLogin)
		p.open(g.url + "/login")
		shoot("login")
		p.open(g.url + "/auth_login.html")
		shoot("api-key")
		p.open(g.url + "/login?next=%2F")
		p.press("button[name=guest_mode]")
		p.graph(c)
		p.show(c)
		shoot("guest")
		p.open(g.url + "/login")
		p.logIn()
		p.graph(c)
		p.show(c)
		p.openAccountMenu()
		p.wait("the entry", text("Log out"))
		shoot("comfyui")

		// The same gate, around a ComfyUI that takes its time.
		g.kill()
		g.args = append(slices.Clone(g.args[2:]), "--", "sh", "-c", "exec sleep 600")
		g.start()
		p.open(g.url + "/")
		p.wait("the starting page", says("ComfyUI is starting"))
		shoot("starting")
		g.end()
	}
}

// show makes a picture in the graph, which all the pictures of ComfyUI show.
func (p *tab) show(c *comfyUI) {
	p.t.Helper()
	p.closeDialogs()
	p.queue(quick(0xc04a10))
	p.result()
	p.run("app.canvas.ds.fitToBounds?.([0, 0, 1300, 640]); document.querySelectorAll('.p-toast-close-button').forEach((e) => e.click())")
	p.wait("no complaint of missing models", "!"+text("Dismiss")+" || void [...document.querySelectorAll('button')].find((e) => e.textContent.trim() === 'Dismiss')?.click()")
}

// small writes a picture with a palette: a third of the bytes.
func (p *tab) small(name string) {
	p.t.Helper()
	shot, err := cd.Run(p.ctx, cd.CaptureScreenshot())
	if err != nil {
		p.t.Fatal(err)
	}
	m, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		p.t.Fatal(err)
	}
	few := image.NewPaletted(m.Bounds(), palette(m))
	draw.Draw(few, few.Bounds(), m, m.Bounds().Min, draw.Src)
	var out bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	if err := encoder.Encode(&out, few); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(os.Getenv("COMFYLATCH_SCREENSHOTS"), name+".png"), out.Bytes(), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// palette gives the 256 commonest colours of a picture; of those near to each
// other, the commonest.
func palette(m image.Image) color.Palette {
	count := map[color.RGBA]int{}
	for y := m.Bounds().Min.Y; y < m.Bounds().Max.Y; y++ {
		for x := m.Bounds().Min.X; x < m.Bounds().Max.X; x++ {
			count[color.RGBAModel.Convert(m.At(x, y)).(color.RGBA)]++
		}
	}
	all := slices.SortedFunc(maps.Keys(count), func(a, b color.RGBA) int {
		return cmp.Or(count[b]-count[a], cmp.Compare(a.R, b.R), cmp.Compare(a.G, b.G), cmp.Compare(a.B, b.B))
	})
	var p color.Palette
	taken := map[color.RGBA]bool{}
	for _, c := range all {
		near := color.RGBA{c.R / 8, c.G / 8, c.B / 8, 0}
		if !taken[near] && len(p) < 256 {
			taken[near] = true
			p = append(p, c)
		}
	}
	return p
}
