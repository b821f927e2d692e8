// Package examples tests the example programs: each against the gate's real
// binary in front of a stand-in ComfyUI, with every way to send a key.
package examples

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"comfylatch/internal/standin"
)

// key is like one from "openssl rand -base64 32", with everything in it that
// has a meaning in addresses.
const key = "k+/e8Q0fV//z+3bJw5T+uX1c6yLmN2pRsD9aGhK7ZqE="

// ways are the values of COMFYUI_SEND.
var ways = []string{"bearer", "basic", "x-api-key", "token", "api_key", "path"}

func TestClientsSavePicture(t *testing.T) {
	comfy := startStandin(t)
	gate := startGate(t, comfy)
	for _, client := range clients(t) {
		for _, way := range ways {
			t.Run(client.name+"/"+way, func(t *testing.T) {
				if client.command == "" {
					t.Skip("what runs " + client.file + " is not installed")
				}
				target := filepath.Join(t.TempDir(), "picture.png")
				runExample(t, gate, way, client.command, client.file, target)
				wantPicture(t, target)
			})
		}
	}
}

func TestScriptFreesMemory(t *testing.T) {
	if program("bash") == "" || program("curl") == "" {
		t.Skip("bash or curl is not installed")
	}
	comfy := startStandin(t)
	gate := startGate(t, comfy)
	for i, way := range ways {
		t.Run(way, func(t *testing.T) {
			runExample(t, gate, way, "bash", "free_memory.sh")
			if got := comfy.asked("/free"); got != i+1 {
				t.Errorf("ComfyUI was asked %d times to free its memory, want %d", got, i+1)
			}
		})
	}
}

func TestExamplesSayWhenKeyIsWrong(t *testing.T) {
	gate := startGate(t, startStandin(t))
	for _, one := range append(clients(t), client{"curl", program("bash"), "free_memory.sh"}) {
		t.Run(one.file, func(t *testing.T) {
			if one.command == "" || one.file == "free_memory.sh" && program("curl") == "" {
				t.Skip("what runs " + one.file + " is not installed")
			}
			out, err := example(t, gate, "bearer", "wrong-"+key, one.command, one.file).CombinedOutput()
			if exit := new(exec.ExitError); !errors.As(err, &exit) || !bytes.Contains(out, []byte("401")) {
				t.Errorf("got %v and %q, want a failure that says 401", err, out)
			}
		})
	}
}

func TestCurlSendsKeyInEveryWay(t *testing.T) {
	if program("curl") == "" {
		t.Skip("curl is not installed")
	}
	gate := startGate(t, startStandin(t))
	const other = "another-key-of-nobody"
	escaped := url.QueryEscape(key)
	for _, c := range []struct {
		name, want string
		args       []string
	}{
		{"bearer", "200", []string{"-H", "Authorization: Bearer " + key, gate + "/queue"}},
		{"bearer in lower case", "200", []string{"-H", "authorization: bearer " + key, gate + "/queue"}},
		{"basic", "200", []string{"-u", "any:" + key, gate + "/queue"}},
		{"basic without a name", "200", []string{"-u", ":" + key, gate + "/queue"}},
		{"x-api-key", "200", []string{"-H", "X-API-Key: " + key, gate + "/queue"}},
		{"token", "200", []string{gate + "/queue?token=" + escaped}},
		{"token with bare plus", "200", []string{gate + "/queue?token=" + key}},
		{"api_key", "200", []string{gate + "/queue?api_key=" + escaped}},
		{"api_key with bare plus", "200", []string{gate + "/queue?api_key=" + key}},
		{"urlencoded by curl", "200", []string{"-G", "--data-urlencode", "token=" + key, gate + "/queue"}},
		{"path", "200", []string{gate + "/k/" + escaped + "/queue"}},
		{"path with bare slashes", "200", []string{gate + "/k/" + key + "/queue"}},
		{"path and api", "200", []string{gate + "/k/" + escaped + "/api/queue"}},
		{"the same key twice", "200", []string{"-H", "X-API-Key: " + key, gate + "/queue?token=" + escaped}},

		{"none", "401", []string{gate + "/queue"}},
		{"wrong bearer", "401", []string{"-H", "Authorization: Bearer " + other, gate + "/queue"}},
		{"wrong basic", "401", []string{"-u", "any:" + other, gate + "/queue"}},
		{"wrong x-api-key", "401", []string{"-H", "X-API-Key: " + other, gate + "/queue"}},
		{"wrong token", "401", []string{gate + "/queue?token=" + other}},
		{"wrong api_key", "401", []string{gate + "/queue?api_key=" + other}},
		{"wrong path", "401", []string{gate + "/k/" + other + "/queue"}},
		{"wrong where none is needed", "401", []string{"-H", "X-API-Key: " + other, gate + "/health"}},
		{"key cut short", "401", []string{"-H", "X-API-Key: " + key[:len(key)-1], gate + "/queue"}},
		{"empty bearer", "401", []string{"-H", "Authorization: Bearer ", gate + "/queue"}},
		{"bearer of two words", "401", []string{"-H", "Authorization: Bearer a " + key, gate + "/queue"}},
		{"empty basic", "401", []string{"-u", "any:", gate + "/queue"}},
		{"empty x-api-key", "401", []string{"-H", "X-API-Key;", gate + "/queue"}},
		{"empty token", "401", []string{gate + "/queue?token="}},
		{"empty api_key", "401", []string{gate + "/queue?api_key="}},
		{"empty path", "401", []string{gate + "/k//queue"}},
		{"unknown scheme", "401", []string{"-H", "Authorization: Digest " + key, gate + "/queue"}},

		{"two in headers", "400", []string{"-H", "X-API-Key: " + key, "-H", "Authorization: Bearer " + other, gate + "/queue"}},
		{"two in header and query", "400", []string{"-H", "X-API-Key: " + other, gate + "/queue?token=" + escaped}},
		{"two in query", "400", []string{gate + "/queue?api_key=" + escaped + "&token=" + other}},
		{"two in path and query", "400", []string{gate + "/k/" + escaped + "/queue?token=" + other}},
	} {
		t.Run(c.name, func(t *testing.T) {
			curl := exec.Command("curl", append([]string{"-sS", "-o", os.DevNull, "-w", "%{http_code}"}, c.args...)...)
			out, err := curl.CombinedOutput()
			if got := string(out); err != nil || got != c.want {
				t.Errorf("got %s (%v), want %s", got, err, c.want)
			}
		})
	}
}

// example is a program of this folder, told by its environment where the gate
// is and how to send which key.
func example(t *testing.T, gate, way, key, command string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, command, args...)
	cmd.Env = append(os.Environ(), "COMFYUI_URL="+gate, "COMFYUI_API_KEY="+key, "COMFYUI_SEND="+way, "NO_PROXY=127.0.0.1")
	return cmd
}

func runExample(t *testing.T, gate, way, command string, args ...string) {
	t.Helper()
	if out, err := example(t, gate, way, key, command, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", args[0], err, out)
	}
}

func wantPicture(t *testing.T, file string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("read the picture: %v", err)
	}
	if got, want := p.Bounds(), image.Rect(0, 0, 256, 256); got != want {
		t.Errorf("the picture measures %v, want %v", got, want)
	}
}

// python is the interpreter that can import module: $COMFYLATCH_PYTHON (./test
// makes one) or the one on the path; "" where neither can.
func python(t *testing.T, module string) string {
	t.Helper()
	for _, p := range []string{os.Getenv("COMFYLATCH_PYTHON"), "python3"} {
		if p != "" && exec.Command(p, "-c", "import "+module).Run() == nil {
			return p
		}
	}
	return ""
}

// program is a command on the path, or "".
func program(name string) string {
	path, err := exec.LookPath(name)
	if err != nil {
		return ""
	}
	return path
}

type comfyUI struct {
	url  string
	back *standin.Server
}

// asked counts the requests that have come to a path.
func (c *comfyUI) asked(path string) int {
	n := 0
	for _, r := range c.back.Requests() {
		if r.URI == path {
			n++
		}
	}
	return n
}

// wantNoKey makes sure that no credential has come to ComfyUI.
func (c *comfyUI) wantNoKey(t *testing.T) {
	t.Helper()
	for _, r := range c.back.Requests() {
		seen := fmt.Sprint(r.URI, r.Header)
		if strings.Contains(seen, key) || strings.Contains(seen, url.QueryEscape(key)) || r.Header["Authorization"] != nil || r.Header["X-Api-Key"] != nil {
			t.Errorf("the key reached ComfyUI: %s %s %v", r.Method, r.URI, r.Header)
		}
	}
}

func startStandin(t *testing.T) *comfyUI {
	t.Helper()
	back, err := standin.New(standin.Config{Dir: t.TempDir(), Record: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { back.Run(ctx) })
	web := httptest.NewServer(back)
	comfy := &comfyUI{url: web.URL, back: back}
	t.Cleanup(func() {
		comfy.wantNoKey(t)
		stop()
		running.Wait()
		back.Close()
		web.Close()
	})
	return comfy
}

// startGate runs the gate's binary in front of comfy. It is given a socket
// that is open already, as systemd does it: no port can be taken meanwhile,
// and whoever connects early waits.
func startGate(t *testing.T, comfy *comfyUI, flags ...string) (address string) {
	t.Helper()
	if program("sh") == "" {
		t.Skip("there is no sh to hand a socket over with")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	socket, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	dir := t.TempDir()
	keyFile := filepath.Join(dir, "key")
	if err := os.WriteFile(keyFile, []byte(key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	gate := exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@"`, buildGate(t),
		"--listen", "systemd", "--upstream", comfy.url, "--state", filepath.Join(dir, "state"), "--api-key-file", keyFile}, flags...)...)
	gate.ExtraFiles, gate.Stderr = []*os.File{socket}, &log
	if err := gate.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		gate.Process.Signal(os.Interrupt)
		err := gate.Wait()
		if t.Failed() || err != nil {
			t.Logf("the gate ended with %v and said:\n%s", err, &log)
		}
	})
	address = "http://" + l.Addr().String()
	awaitComfyUI(t, address)
	return address
}

// clients are the examples that save a picture, with what runs them; "" where
// that is not installed.
func clients(t *testing.T) []client {
	t.Helper()
	return []client{
		{"websocket", python(t, "websocket"), "websocket_client.py"},
		{"requests", python(t, "requests"), "requests_client.py"},
		{"node", program("node"), "client.mjs"},
	}
}

type client struct{ name, command, file string }

// awaitComfyUI waits until the gate has found ComfyUI.
func awaitComfyUI(t *testing.T, gate string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		answer, err := http.Get(gate + "/health")
		if err != nil {
			continue
		}
		answer.Body.Close()
		if answer.StatusCode == http.StatusOK {
			return
		}
	}
	t.Fatal("the gate has not found ComfyUI in time")
}

var gateBinary struct {
	once sync.Once
	path string
	err  error
}

func TestMain(m *testing.M) {
	status := m.Run()
	if gateBinary.path != "" {
		os.RemoveAll(filepath.Dir(gateBinary.path))
	}
	os.Exit(status)
}

// buildGate builds the command once for all tests.
func buildGate(t *testing.T) string {
	t.Helper()
	b := &gateBinary
	b.once.Do(func() {
		dir, err := os.MkdirTemp("", "comfylatch-examples-")
		if err != nil {
			b.err = err
			return
		}
		b.path = filepath.Join(dir, "comfylatch")
		if out, err := exec.Command("go", "build", "-o", b.path, "comfylatch/cmd/comfylatch").CombinedOutput(); err != nil {
			b.err = errors.Join(err, errors.New(string(out)))
		}
	})
	if b.err != nil {
		t.Fatalf("build the gate: %v", b.err)
	}
	return b.path
}
