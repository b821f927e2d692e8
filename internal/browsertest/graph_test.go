package browsertest

import (
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	cd "github.com/chromedp/chromedp"
)

// A day's work in ComfyUI: a picture is uploaded, progress is seen, a workflow
// and a setting are kept.
func TestUploadProgressWorkflowSetting(t *testing.T) {
	forEachComfyUI(t, func(t *testing.T, c *comfyUI) {
		g := startGate(t, c)
		p := enter(t, c, g)
		p.wantProgress(c)
		p.saveWorkflow()
		p.run("await app.extensionManager.setting.set('Comfy.TextareaWidget.FontSize', 17)")
		p.wantUpload()

		// Nothing of it is only in this browser.
		p.run("localStorage.clear(); sessionStorage.clear()")
		p.open(g.url + "/")
		p.graph(c)
		if got := eval[int](p, "app.extensionManager.setting.get('Comfy.TextareaWidget.FontSize')"); got != 17 {
			t.Errorf("the setting is %d after a reload, want 17", got)
		}
		p.openWorkflow()
	})
}

// wantUpload loads a picture through the LoadImage node's own button and makes
// another of it.
func (p *tab) wantUpload() {
	p.t.Helper()
	file := filepath.Join(p.t.TempDir(), "latch-browser-test.png")
	p.writePicture(file, 33, 21)
	p.load(map[string]any{
		"1": node("LoadImage", map[string]any{"image": ""}),
		"2": node("ImageInvert", map[string]any{"image": from("1")}),
		"3": node("SaveImage", map[string]any{"images": from("2"), "filename_prefix": "latch"}),
	})
	p.lookAt("LoadImage")
	p.choose(file, "app.graph._nodes.find((n) => n.type === 'LoadImage').widgets.find((w) => w.type === 'button').callback()")
	p.wait("the uploaded picture in the node", `app.graph._nodes.some((n) => n.type === 'LoadImage' && /^latch-browser-test/.test(n.widgets.find((w) => w.name === 'image').value) && n.imgs?.[0]?.naturalWidth === 33)`)
	p.queueGraph()
	p.result()
	p.wait("the picture's size", "app.graph._nodes.find((n) => n.type === 'SaveImage').imgs[0].naturalWidth === 33")
}

// choose runs JavaScript that asks for a file, and gives it this one.
func (p *tab) choose(file, js string) {
	p.t.Helper()
	chosen := make(chan error, 1)
	err := cd.Listen(p.ctx, func(event any) {
		e, ok := event.(*page.EventFileChooserOpened)
		if !ok {
			return
		}
		go func() {
			_, err := cd.Call(p.ctx, dom.SetFileInputFiles, dom.SetFileInputFilesParams{Files: []string{file}, BackendNodeID: e.BackendNodeID})
			select {
			case chosen <- err:
			default:
			}
		}()
	})
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := cd.Call(p.ctx, page.SetInterceptFileChooserDialog, page.SetInterceptFileChooserDialogParams{Enabled: true}); err != nil {
		p.t.Fatal(err)
	}
	pressed := func(e *runtime.EvaluateParams) { yes := true; e.UserGesture = &yes }
	if _, err := cd.Run(p.ctx, cd.Evaluate[cd.Void]("void "+js, pressed)); err != nil {
		p.t.Fatal(err)
	}
	if err := <-chosen; err != nil {
		p.t.Fatal(err)
	}
}

func (p *tab) writePicture(path string, width, height int) {
	p.t.Helper()
	m := image.NewRGBA(image.Rect(0, 0, width, height))
	for i := range width {
		m.Set(i, i%height, color.White)
	}
	f, err := os.Create(path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer f.Close()
	if err := png.Encode(f, m); err != nil {
		p.t.Fatal(err)
	}
}

// wantProgress queues what takes a while, and sees it move before it ends.
func (p *tab) wantProgress(c *comfyUI) {
	p.t.Helper()
	p.queue(c.slow(0x405060, 8))
	moving := "e.kind === 'progress_state' && Object.values(e.detail.nodes).some((n) => n.state === 'running')"
	if !c.real { // whose blurs know no steps
		moving = "e.kind === 'progress' && e.detail.value > 0 && e.detail.value < e.detail.max"
	}
	p.wait("progress", "seen.some((e) => "+moving+")")
	if eval[bool](p, event("execution_success")) {
		p.t.Log("the prompt was done before its progress was looked at")
	}
	p.result()
	if !c.real {
		p.wait("live previews", "seen.some((e) => e.kind === 'b_preview')")
	}
}

// saveWorkflow saves the graph under a name, as by Ctrl+S.
func (p *tab) saveWorkflow() {
	p.t.Helper()
	p.closeDialogs()
	p.run("void app.extensionManager.command.execute('Comfy.SaveWorkflow')")
	p.wait("the question for a name", shown("[role=dialog] input"))
	p.run(fmt.Sprintf(`const field = document.querySelector('[role=dialog] input');
field.focus();
Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(field, %q);
field.dispatchEvent(new Event('input', { bubbles: true }))`, savedWorkflow))
	p.do(cd.KeyEvent("\r"))
	p.wait("the workflow to be saved", fmt.Sprintf("app.extensionManager.workflow.activeWorkflow?.path === 'workflows/%s.json' && !app.extensionManager.workflow.activeWorkflow.isModified", savedWorkflow))
}

// openWorkflow opens what was saved, from the list of workflows.
func (p *tab) openWorkflow() {
	p.t.Helper()
	p.closeDialogs()
	p.run("void app.extensionManager.command.execute('Workspace.ToggleSidebarTab.workflows')")
	entry := fmt.Sprintf("[...document.querySelectorAll('.side-bar-panel *, .comfyui-workflows-panel *, .workflows-sidebar-tab *')].find((e) => !e.querySelector('*') && e.textContent.trim().startsWith(%q) && e.checkVisibility())", savedWorkflow)
	p.wait("the saved workflow in the list", entry)
	p.run(entry + ".click()")
	p.wait("the saved graph", "app.graph._nodes.some((n) => n.type === 'EmptyImage')")
}

// closeDialogs closes what ComfyUI covers the page with, such as missing models.
func (p *tab) closeDialogs() {
	p.t.Helper()
	p.wait("no dialog", "document.querySelectorAll('.p-dialog-close-button').forEach((e) => e.click()) || !"+shown(".p-dialog"))
}
