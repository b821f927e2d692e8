package browsertest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"comfylatch/internal/standin"
)

// comfyUI is what the gate stands in front of.
type comfyUI struct {
	t     *testing.T
	url   string
	real  bool
	nodes int  // there are more registered node types than this once the page stands
	bar   bool // the frontend has actionBarButtons and topbarBadges

	// The stand-in:
	config standin.Config
	addr   string
	server *standin.Server
	http   *http.Server
	work   sync.WaitGroup
	cancel context.CancelFunc

	// A real one that we start:
	command string
	process *exec.Cmd
}

// forEachComfyUI runs the test in front of each ComfyUI there is.
func forEachComfyUI(t *testing.T, test func(t *testing.T, c *comfyUI)) {
	needBrowser(t)
	found := false
	for _, v := range []struct{ version, frontEnd string }{{standin.Version0_3_64, "1.27.10"}, {standin.Version0_24_0, "1.45.15"}} {
		root := frontEnd(v.frontEnd)
		if root == "" {
			continue
		}
		found = true
		t.Run(v.version, func(t *testing.T) { test(t, startStandIn(t, v.version, root)) })
	}
	if url := os.Getenv("COMFYUI_URL"); url != "" {
		found = true
		t.Run("real", func(t *testing.T) { test(t, findReal(t, strings.TrimSuffix(url, "/"))) })
	}
	if !found {
		t.Skip("no frontend of ComfyUI: set COMFYLATCH_FRONTENDS, or COMFYUI_URL")
	}
}

// startStandIn starts a stand-in; without root it has a small page of its own.
func startStandIn(t *testing.T, version, root string) *comfyUI {
	c := &comfyUI{t: t, nodes: 10, bar: version == standin.Version0_24_0, addr: "127.0.0.1:0",
		config: standin.Config{Dir: t.TempDir(), Version: version, FrontEndRoot: root, Record: true}}
	c.start()
	t.Cleanup(c.stop)
	c.skipTour()
	return c
}

func findReal(t *testing.T, url string) *comfyUI {
	c := &comfyUI{t: t, url: url, real: true, nodes: 100, command: os.Getenv("COMFYUI_COMMAND")}
	if c.command != "" {
		t.Cleanup(c.stop) // also of one that never answers
		c.start()
	}
	var stats struct {
		System struct {
			FrontEnd string `json:"required_frontend_version"`
			Version  string `json:"comfyui_version"`
		} `json:"system"`
	}
	c.get("/system_stats", &stats)
	if stats.System.Version == "" {
		t.Fatalf("%s is not a ComfyUI", url)
	}
	c.bar = !strings.HasPrefix(stats.System.FrontEnd, "1.2")
	c.restore()
	c.skipTour()
	return c
}

// skipTour keeps the templates, which cover the page at its first visit, away.
func (c *comfyUI) skipTour() {
	c.post("/settings", map[string]any{"Comfy.TutorialCompleted": true}, nil)
}

// restore puts a real ComfyUI's settings back when the test has ended, and
// removes the workflow that a test saves.
func (c *comfyUI) restore() {
	var settings map[string]any
	c.get("/settings", &settings)
	c.t.Cleanup(func() {
		body, _ := json.Marshal(settings)
		for _, do := range []struct{ method, path, body string }{{"POST", "/settings", string(body)}, {"DELETE", "/userdata/workflows%2F" + savedWorkflow + ".json", ""}} {
			req, _ := http.NewRequest(do.method, c.url+do.path, strings.NewReader(do.body))
			if r, err := http.DefaultClient.Do(req); err == nil {
				r.Body.Close()
			}
		}
	})
}

// canDie tells whether the test may kill it and start it again.
func (c *comfyUI) canDie() bool { return !c.real || c.command != "" }

func (c *comfyUI) start() {
	c.t.Helper()
	if c.real {
		if answers(c.url + "/system_stats") {
			c.t.Fatalf("at %s there is a ComfyUI already, which is not ours to kill", c.url)
		}
		c.process = exec.Command("sh", "-c", "exec "+c.command)
		c.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := c.process.Start(); err != nil {
			c.t.Fatal(err)
		}
		if !until(func() bool { return answers(c.url + "/system_stats") }) {
			c.t.Fatal("ComfyUI does not start")
		}
		return
	}
	var err error
	if c.server, err = standin.New(c.config); err != nil {
		c.t.Fatal(err)
	}
	l, err := net.Listen("tcp", c.addr)
	if err != nil {
		c.t.Fatal(err)
	}
	c.addr = l.Addr().String()
	c.url = "http://" + c.addr
	c.http = &http.Server{Handler: c.server}
	var ctx context.Context
	ctx, c.cancel = context.WithCancel(context.Background())
	c.work.Go(func() { c.http.Serve(l) })
	c.work.Go(func() { c.server.Run(ctx) })
}

// stop ends it as a kill would: sockets and requests are cut.
func (c *comfyUI) stop() {
	if c.process != nil {
		syscall.Kill(-c.process.Process.Pid, syscall.SIGKILL)
		c.process.Wait()
	}
	if c.server == nil {
		return
	}
	c.http.Close()
	c.cancel()
	c.server.Close()
	c.work.Wait()
}

// get asks ComfyUI itself, behind the gate's back.
func (c *comfyUI) get(path string, into any) {
	c.t.Helper()
	body := c.bytes(path)
	if err := json.Unmarshal(body, into); err != nil {
		c.t.Fatalf("GET %s: %v: %.200s", path, err, body)
	}
}

func (c *comfyUI) bytes(path string) []byte {
	c.t.Helper()
	r, err := http.Get(c.url + path)
	if err != nil {
		c.t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return body
}

// post sends JSON to ComfyUI itself.
func (c *comfyUI) post(path string, v any, into any) {
	c.t.Helper()
	body, _ := json.Marshal(v)
	r, err := http.Post(c.url+path, "application/json", bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	defer r.Body.Close()
	answer, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		c.t.Fatalf("POST %s: %d %s %v", path, r.StatusCode, answer, err)
	}
	if into != nil {
		if err := json.Unmarshal(answer, into); err != nil {
			c.t.Fatal(err)
		}
	}
}

// queueLength counts what runs and waits.
func (c *comfyUI) queueLength() int {
	var q struct {
		Running []any `json:"queue_running"`
		Pending []any `json:"queue_pending"`
	}
	c.get("/queue", &q)
	return len(q.Running) + len(q.Pending)
}

// succeeded tells whether a prompt has ended well.
func (c *comfyUI) succeeded(promptID string) bool {
	var h map[string]struct {
		Status struct {
			Text string `json:"status_str"`
		} `json:"status"`
	}
	c.get("/history/"+promptID, &h)
	return h[promptID].Status.Text == "success"
}

// node is one of a prompt's: its class and its inputs.
func node(class string, inputs map[string]any) map[string]any {
	return map[string]any{"class_type": class, "inputs": inputs}
}

func from(id string) []any { return []any{id, 0} }

// quick is a prompt that makes a picture at once; the colour keeps ComfyUI from
// giving what it made before.
func quick(color int) map[string]any {
	return map[string]any{
		"1": node("EmptyImage", map[string]any{"width": 64, "height": 48, "batch_size": 1, "color": color}),
		"2": node("ImageInvert", map[string]any{"image": from("1")}),
		"3": node("SaveImage", map[string]any{"images": from("2"), "filename_prefix": "latch"}),
	}
}

// slow is a prompt of so many quarters of a second, with news on the way; on a
// real ComfyUI it blurs a picture some times, for as long as that takes.
func (c *comfyUI) slow(color, steps int) map[string]any {
	p := map[string]any{"1": node("EmptyImage", map[string]any{"width": 512, "height": 512, "batch_size": 1, "color": color})}
	last := "1"
	if c.real {
		for i := range max(4, steps/4) { // seconds each, without a GPU
			id := fmt.Sprint(10 + i)
			p[id] = node("ImageBlur", map[string]any{"image": from(last), "blur_radius": 31, "sigma": 5.0})
			last = id
		}
	} else {
		p["2"] = node("LatchSlowImage", map[string]any{"image": from("1"), "steps": steps, "step_ms": 250})
		last = "2"
	}
	p["3"] = node("SaveImage", map[string]any{"images": from(last), "filename_prefix": "latch"})
	return p
}
