package browsertest

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	cd "github.com/chromedp/chromedp"
)

func TestGateKilledDuringAGenerationAndAnUpload(t *testing.T) {
	forEachComfyUI(t, func(t *testing.T, c *comfyUI) {
		g := startGate(t, c)
		p := enter(t, c, g)
		cookie := p.cookie(g.url)

		id := p.queue(c.slow(0x607080, 40))
		p.wait("the generation to be under way", event("progress_state"))
		p.beginUpload()
		p.wait("the upload to be under way", "window.uploaded > 0 && !window.upload")
		g.kill()
		p.wait("the page to notice", event("reconnecting")+" && window.upload === 'failed'")
		g.start()
		p.wait("the page to be back by itself", event("reconnected"))
		if !until(func() bool { return c.succeeded(id) }) {
			t.Error("ComfyUI's job did not go on")
		}
		p.result()
		if got := g.status("/api/queue", cookie); got != http.StatusOK {
			t.Errorf("the session after the crash: %d", got)
		}
		p.slowDown(-1)
		p.beginUpload()
		p.wait("the upload to work again", "window.upload === 200")
		p.queue(quick(0x708090))
		p.result()
	})
}

// beginUpload sends a large file. window.uploaded counts its bytes,
// window.upload is the status or "failed" at the end.
func (p *tab) beginUpload() {
	p.t.Helper()
	if eval[bool](p, "window.upload === undefined") {
		p.slowDown(2 << 20)
	}
	p.run(`window.uploaded = 0; window.upload = undefined;
const form = new FormData();
form.append('image', new Blob([new Uint8Array(24 << 20)], { type: 'image/png' }), 'latch-browser-test-large.png');
form.append('overwrite', 'true');
const x = new XMLHttpRequest();
x.open('POST', '/api/upload/image');
x.upload.onprogress = (e) => { window.uploaded = e.loaded; };
x.onload = () => { window.upload = x.status; };
x.onerror = () => { window.upload = 'failed'; };
x.send(form)`)
}

// slowDown limits uploads to so many bytes a second.
func (p *tab) slowDown(rate float64) {
	p.t.Helper()
	limits := network.EmulateNetworkConditionsByRuleParams{MatchedNetworkConditions: []*network.Conditions{
		{URLPattern: "*://*:*/api/upload/image", DownloadThroughput: -1, UploadThroughput: rate}}}
	if _, err := cd.Call(p.ctx, network.EmulateNetworkConditionsByRule, limits); err != nil {
		p.t.Fatal(err)
	}
}

func TestComfyUIRestartedBehindTheGate(t *testing.T) {
	forEachComfyUI(t, func(t *testing.T, c *comfyUI) {
		if !c.canDie() {
			t.Skip("this ComfyUI is not ours to kill: set COMFYUI_COMMAND")
		}
		g := startGate(t, c)
		p := enter(t, c, g)
		c.stop()
		p.wait("the page to notice", event("reconnecting"))
		other := p.another()
		other.openDown(g)
		c.start()
		p.wait("the page to be back by itself", event("reconnected"))
		p.queue(quick(0x8090a0))
		p.result()
		other.graph(c)
	})
}

// openDown opens the page that says that ComfyUI is away. ComfyUI's own page may
// still be given for the few seconds that the gate keeps it.
func (p *tab) openDown(g *gate) {
	p.t.Helper()
	down := until(func() bool {
		// ComfyUI's own page may just be loading itself anew: then once more.
		ctx, cancel := context.WithTimeout(p.ctx, time.Minute)
		defer cancel()
		cd.Do(ctx, cd.Navigate(g.url+"/"))
		says, err := cd.Run(ctx, cd.Evaluate[bool]("!!("+says("ComfyUI does not answer")+")"))
		return err == nil && says
	})
	if !down {
		p.t.Fatal("no page says that ComfyUI is away")
	}
}
