package browsertest

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// gate is the comfylatch process.
type gate struct {
	t       *testing.T
	url     string
	state   string
	args    []string
	process *exec.Cmd
	log     logBuffer
}

// startGate starts the gate in front of a ComfyUI, with a fresh state folder.
func startGate(t *testing.T, c *comfyUI, args ...string) *gate {
	t.Helper()
	addr := freeAddr(t)
	g := &gate{t: t, url: "http://" + addr, state: filepath.Join(t.TempDir(), "login")}
	g.args = append([]string{"--upstream", c.url, "--listen", addr, "--state", g.state}, args...)
	g.start()
	t.Cleanup(func() {
		g.kill()
		if t.Failed() {
			t.Logf("the gate said:\n%s", g.log.tail())
		}
	})
	return g
}

// freeAddr finds a free port, below those that the system gives to clients.
func freeAddr(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (g *gate) start() {
	g.t.Helper()
	binary, err := gateBinary()
	if err != nil {
		g.t.Fatal(err)
	}
	g.process = exec.Command(binary, g.args...)
	g.process.Stdout, g.process.Stderr = &g.log, &g.log
	g.process.Env = append(os.Environ(), "COMFYUI_API_KEY=")
	g.process.WaitDelay = 5 * time.Second // a command that it started may hold its output open
	if err := g.process.Start(); err != nil {
		g.t.Fatal(err)
	}
	if !until(func() bool { return answers(g.url + "/login") }) {
		g.t.Fatal("the gate does not start")
	}
}

// kill is kill -9.
func (g *gate) kill() {
	g.process.Process.Signal(syscall.SIGKILL)
	g.process.Wait()
}

// end is Ctrl-C: a command that the gate started ends with it.
func (g *gate) end() {
	g.process.Process.Signal(os.Interrupt)
	g.process.Wait()
}

// put writes a file into the state folder, as its owner would.
func (g *gate) put(name string) {
	g.t.Helper()
	if err := os.WriteFile(filepath.Join(g.state, name), nil, 0o600); err != nil {
		g.t.Fatal(err)
	}
}

func (g *gate) remove(name string) {
	g.t.Helper()
	if err := os.Remove(filepath.Join(g.state, name)); err != nil {
		g.t.Fatal(err)
	}
}

// status asks the gate with a cookie, as a program would.
func (g *gate) status(path, cookie string) int {
	g.t.Helper()
	req, err := http.NewRequest("GET", g.url+path, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	req.Header.Set("Cookie", cookie)
	r, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		g.t.Fatal(err)
	}
	r.Body.Close()
	return r.StatusCode
}

// socket opens a WebSocket with a cookie, and gives the status where the gate
// does not let it through.
func (g *gate) socket(cookie string) (*websocket.Conn, int) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), time.Minute)
	defer cancel()
	header := http.Header{"Cookie": {cookie}, "Origin": {g.url}}
	conn, r, err := websocket.Dial(ctx, g.url+"/ws?clientId=old-window", &websocket.DialOptions{HTTPHeader: header})
	if err == nil {
		g.t.Cleanup(func() { conn.CloseNow() })
		return conn, http.StatusSwitchingProtocols
	}
	if r == nil {
		g.t.Fatal(err)
	}
	return nil, r.StatusCode
}

// wantClosed reads until the socket ends.
func wantClosed(t *testing.T, conn *websocket.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		if _, _, err := conn.Read(ctx); err != nil {
			if ctx.Err() != nil {
				t.Error("the open socket stayed open")
			}
			return
		}
	}
}

// logBuffer keeps what the gate says.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) tail() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(b.text.String()), "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}

// handled counts the requests that were answered well, by the log of --debug.
func (g *gate) handled(path string) int {
	g.log.mu.Lock()
	defer g.log.mu.Unlock()
	n := 0
	for line := range strings.Lines(g.log.text.String()) {
		if strings.Contains(line, " path="+path+" ") && strings.Contains(line, " status=204 ") {
			n++
		}
	}
	return n
}
