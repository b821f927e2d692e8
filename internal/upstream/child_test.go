//go:build unix

package upstream

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test binary play the part of a ComfyUI that is started.
func TestMain(m *testing.M) {
	if part := os.Getenv("TEST_CHILD"); part != "" {
		os.Exit(playChild(part))
	}
	os.Exit(m.Run())
}

func playChild(part string) int {
	switch part {
	case "exit 7":
		return 7
	case "show":
		fmt.Println("args", strings.Join(os.Args[1:], " "))
		for _, kv := range os.Environ() {
			fmt.Println("env", kv)
		}
		fmt.Fprintln(os.Stderr, "to stderr")
		return 0
	case "wait for a signal":
		c := make(chan os.Signal, 1)
		signal.Notify(c, os.Interrupt, syscall.SIGTERM)
		fmt.Println("ready")
		fmt.Println("got", <-c)
		return 3
	case "wait": // ends by a signal's default
		fmt.Println("ready")
		time.Sleep(time.Hour)
	case "deaf":
		signal.Ignore(os.Interrupt, syscall.SIGTERM)
		fmt.Println("ready")
		time.Sleep(time.Hour)
	case "parent of a deaf one":
		signal.Ignore(os.Interrupt, syscall.SIGTERM)
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "TEST_CHILD=deaf")
		if err := cmd.Start(); err != nil {
			return 1
		}
		fmt.Println("pid", cmd.Process.Pid)
		fmt.Println("ready")
		time.Sleep(time.Hour)
	case "gate": // starts a child and waits to be killed
		c, err := NewChild(ChildOptions{Command: []string{os.Args[0]}, Env: append(os.Environ(), "TEST_CHILD=deaf"), Stdout: os.Stdout})
		if err != nil {
			return 1
		}
		go c.Run(context.Background())
		for c.running() == 0 {
			time.Sleep(time.Millisecond)
		}
		fmt.Println("pid", c.running())
		time.Sleep(time.Hour)
	}
	return 1
}

// output is a writer that tests can look into while it is written to.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// after gives what stands behind a word at the start of a line.
func (o *output) after(word string) string {
	for line := range strings.Lines(o.String()) {
		if rest, ok := strings.CutPrefix(line, word+" "); ok && strings.HasSuffix(line, "\n") {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

func newTestChild(t *testing.T, part string, o ChildOptions) (*Child, *output) {
	t.Helper()
	out := &output{}
	if o.Command == nil {
		o.Command = []string{os.Args[0]}
	}
	o.Env = append(o.Env, "TEST_CHILD="+part)
	o.Stdout = out
	c, err := NewChild(o)
	if err != nil {
		t.Fatal(err)
	}
	return c, out
}

type result struct {
	status int
	err    error
}

func start(ctx context.Context, c *Child) <-chan result {
	done := make(chan result, 1)
	go func() {
		status, err := c.Run(ctx)
		done <- result{status, err}
	}()
	return done
}

// running is the process id, 0 while there is none.
func (c *Child) running() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.process == nil {
		return 0
	}
	return c.process.Pid
}

func isReady(out *output) func() bool {
	return func() bool { return strings.Contains(out.String(), "ready\n") }
}

func TestChildsExitStatusIsGiven(t *testing.T) {
	c, _ := newTestChild(t, "exit 7", ChildOptions{})
	if got := <-start(t.Context(), c); got != (result{7, nil}) {
		t.Errorf("got %v, want 7", got)
	}
}

func TestChildThatCannotStart(t *testing.T) {
	c, _ := newTestChild(t, "", ChildOptions{Command: []string{"/does/not/exist"}})
	if status, err := c.Run(t.Context()); status != 127 || err == nil || !strings.Contains(err.Error(), "/does/not/exist") {
		t.Errorf("got %d, %v", status, err)
	}
}

func TestChildsArgumentsAndEnvironment(t *testing.T) {
	var stderr output
	env := []string{"PATH=/bin", "COMFYUI_API_KEY=secret", "COMFYLATCH_STATE=x", "HF_HOME=/models"}
	c, out := newTestChild(t, "show", ChildOptions{Command: []string{os.Args[0], "--cpu", "--port", "8188", "--listen"}, Env: env, Stderr: &stderr})
	if got := <-start(t.Context(), c); got != (result{0, nil}) {
		t.Fatalf("got %v", got)
	}
	port := c.URL().Port()
	if want := "--cpu --port 8188 --listen --listen 127.0.0.1 --port " + port; out.after("args") != want {
		t.Errorf("arguments %q, want %q", out.after("args"), want)
	}
	for _, secret := range []string{"secret", "COMFYLATCH_"} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("the child's environment has %q", secret)
		}
	}
	for _, kept := range []string{"env HF_HOME=/models", "env PATH=/bin"} {
		if !strings.Contains(out.String(), kept) {
			t.Errorf("the child's environment lacks %q", kept)
		}
	}
	if stderr.String() != "to stderr\n" {
		t.Errorf("standard error has %q", stderr.String())
	}
}

func TestChildArguments(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"python3 main.py", "python3 main.py --listen 127.0.0.1 --port 9"},
		{"python3 main.py --auto-launch", "python3 main.py --auto-launch --disable-auto-launch --listen 127.0.0.1 --port 9"},
	} {
		if got := strings.Join(childArgs(strings.Fields(c.in), 9), " "); got != c.want {
			t.Errorf("got  %q\nwant %q", got, c.want)
		}
	}
	if _, err := NewChild(ChildOptions{Command: []string{"x", "--tls-keyfile=k"}}); err == nil {
		t.Error("a ComfyUI that speaks TLS was accepted")
	}
	if _, err := NewChild(ChildOptions{}); err == nil {
		t.Error("an empty command was accepted")
	}
}

// Python's argparse decides which of several addresses counts.
func TestOursIsTheAddressThatPythonTakes(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3 here")
	}
	// As in ComfyUI's comfy/cli_args.py.
	script := `import argparse
p = argparse.ArgumentParser()
p.add_argument("--listen", type=str, default="127.0.0.1", metavar="IP", nargs="?", const="0.0.0.0,::")
p.add_argument("--port", type=int, default=8188)
p.add_argument("--cpu", action="store_true")
a = p.parse_args()
print(a.listen, a.port)`
	for _, theirs := range []string{"", "--listen", "--listen 0.0.0.0", "--listen=0.0.0.0 --port=1", "--lis 0.0.0.0 --po 1", "--port 1 --cpu --listen"} {
		t.Run(theirs, func(t *testing.T) {
			args := childArgs(append([]string{python, "-c", script}, strings.Fields(theirs)...), 4711)
			out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
			if got := strings.TrimSpace(string(out)); err != nil || got != "127.0.0.1 4711" {
				t.Errorf("got %q, error %v", got, err)
			}
		})
	}
}

func TestSignalsArePassedOn(t *testing.T) {
	for sig, shown := range map[os.Signal]string{os.Interrupt: "interrupt", syscall.SIGTERM: "terminated"} {
		t.Run(shown, func(t *testing.T) {
			c, out := newTestChild(t, "wait for a signal", ChildOptions{})
			done := start(t.Context(), c)
			eventually(t, "ready", isReady(out))
			c.Signal(sig)
			if got := <-done; got != (result{3, nil}) || out.after("got") != shown {
				t.Errorf("got %v and %q", got, out.after("got"))
			}
		})
	}
}

func TestSignalThatEndsTheChildIsItsStatus(t *testing.T) {
	c, out := newTestChild(t, "wait", ChildOptions{})
	done := start(t.Context(), c)
	eventually(t, "ready", isReady(out))
	c.Signal(syscall.SIGTERM)
	if got := <-done; got != (result{128 + 15, nil}) {
		t.Errorf("got %v, want 143", got)
	}
}

func TestEndOfContextInterruptsTheChild(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c, out := newTestChild(t, "wait for a signal", ChildOptions{})
	done := start(ctx, c)
	eventually(t, "ready", isReady(out))
	cancel()
	if got := <-done; got.status != 3 || out.after("got") != "interrupt" {
		t.Errorf("got %v and %q", got, out.after("got"))
	}
}

func TestSignalBeforeTheStartCounts(t *testing.T) {
	c, _ := newTestChild(t, "wait", ChildOptions{})
	c.Signal(syscall.SIGTERM)
	if got := <-start(t.Context(), c); got.status != 128+15 {
		t.Errorf("got %v, want 143", got)
	}
}

func TestDeafChildAndItsChildrenAreKilled(t *testing.T) {
	c, out := newTestChild(t, "parent of a deaf one", ChildOptions{Grace: 50 * time.Millisecond})
	done := start(t.Context(), c)
	eventually(t, "ready", isReady(out))
	c.Signal(os.Interrupt)
	if got := <-done; got.status != 128+9 {
		t.Errorf("got %v, want 137", got)
	}
	pid, err := strconv.Atoi(out.after("pid"))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the grandchild is gone", func() bool { return isGone(pid) })
}

// isGone tells whether a process has ended; a zombie nobody has waited for yet
// has, too.
func isGone(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := bytes.Cut(stat, []byte(") "))
	return bytes.HasPrefix(rest, []byte("Z"))
}

func TestChildDiesWithTheGate(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("only on Linux")
	}
	out := &output{}
	gate := exec.Command(os.Args[0])
	gate.Env = append(os.Environ(), "TEST_CHILD=gate")
	gate.Stdout = out
	gate.WaitDelay = time.Second
	if err := gate.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the child is ready", func() bool { return isReady(out)() && out.after("pid") != "" })
	pid, err := strconv.Atoi(out.after("pid"))
	if err != nil {
		t.Fatal(err)
	}
	gate.Process.Kill()
	gate.Wait()
	eventually(t, "the child is gone", func() bool { return isGone(pid) })
}

func TestChildGetsAFreePortOnLoopback(t *testing.T) {
	var ports []string
	for range 3 {
		c, _ := newTestChild(t, "", ChildOptions{})
		if c.URL().Hostname() != "127.0.0.1" || slices.Contains(ports, c.URL().Port()) {
			t.Errorf("address %s, before %v", c.URL(), ports)
		}
		l, err := net.Listen("tcp", c.URL().Host)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, c.URL().Port())
	}
}
