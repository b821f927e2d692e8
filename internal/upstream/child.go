package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ChildOptions describe the ComfyUI to start. Only Command is needed.
type ChildOptions struct {
	Command []string // program and arguments, as after "--" on the command line
	Dir     string
	Env     []string // default os.Environ(); our own secrets are taken out
	Stdout  io.Writer
	Stderr  io.Writer
	Grace   time.Duration // from the first signal to the kill; default 15 s
	Log     *slog.Logger
}

// Child is a ComfyUI that the gate starts and that ends with it.
type Child struct {
	opts ChildOptions
	log  *slog.Logger
	port int
	args []string

	mu      sync.Mutex
	process *os.Process // nil before it has been started and after it has ended
	pending os.Signal   // a signal that came before the start
	signal  chan struct{}
}

const defaultGrace = 15 * time.Second

// NewChild chooses a free port and writes the command line. It starts nothing.
func NewChild(o ChildOptions) (*Child, error) {
	if len(o.Command) == 0 || o.Command[0] == "" {
		return nil, errors.New("no command to start ComfyUI given")
	}
	if slices.ContainsFunc(o.Command, func(a string) bool { return strings.HasPrefix(a, "--tls-") }) {
		return nil, errors.New("start ComfyUI without --tls-keyfile and --tls-certfile: the gate speaks with the visitors, and with ComfyUI only on this machine")
	}
	port, err := freePort()
	if err != nil {
		return nil, fmt.Errorf("find a free port for ComfyUI: %w", err)
	}
	if o.Env == nil {
		o.Env = os.Environ()
	}
	if o.Grace <= 0 {
		o.Grace = defaultGrace
	}
	c := &Child{opts: o, log: o.Log, port: port, args: childArgs(o.Command, port), signal: make(chan struct{}, 1)}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// URL is where ComfyUI will answer.
func (c *Child) URL() *url.URL {
	return &url.URL{Scheme: "http", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(c.port))}
}

// freePort asks the system for a port that nobody uses. Somebody may take it
// before ComfyUI does: then ComfyUI ends and says so.
func freePort() (int, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// childArgs adds our address at the end of the command: Python's argparse
// takes the last of several, however they are spelled ("--port=1", "--po 1").
// The value of --listen is optional there, so it is always written out.
func childArgs(command []string, port int) []string {
	args := slices.Clone(command)
	opens := func(a string) bool { return a == "--auto-launch" || a == "--windows-standalone-build" }
	if slices.ContainsFunc(args, opens) {
		// ComfyUI would open a browser at its own address, behind our back.
		args = append(args, "--disable-auto-launch")
	}
	return append(args, "--listen", "127.0.0.1", "--port", strconv.Itoa(port))
}

// childEnv leaves out what is ours alone: keys that open the gate.
func childEnv(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		name = strings.ToUpper(name) // names have no case on Windows
		return name == "COMFYUI_API_KEY" || strings.HasPrefix(name, "COMFYLATCH_")
	})
}

// Run starts ComfyUI and waits until it has ended. It returns its exit status,
// 128+n if signal n ended it, and an error if it could not be started. When
// ctx ends it is interrupted, and killed after the grace time.
func (c *Child) Run(ctx context.Context) (status int, err error) {
	// The child is told to end when the *thread* that started it does
	// (prctl(2), PR_SET_PDEATHSIG), so this goroutine keeps its thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command(c.args[0], c.args[1:]...)
	cmd.Dir, cmd.Env = c.opts.Dir, childEnv(c.opts.Env)
	cmd.Stdout, cmd.Stderr = c.opts.Stdout, c.opts.Stderr
	// A grandchild may hold the pipes open; ours is not to wait for it.
	cmd.WaitDelay = time.Second
	ownGroup(cmd)
	if err := cmd.Start(); err != nil {
		return 127, fmt.Errorf("start ComfyUI with %q: %w", c.args[0], err)
	}
	c.log.Info("ComfyUI is starting", "command", strings.Join(c.args, " "), "pid", cmd.Process.Pid)
	c.started(cmd.Process)
	ended := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { c.watch(ctx, cmd.Process, ended) })
	err = cmd.Wait()
	c.started(nil)
	close(ended)
	wg.Wait()
	killGroup(cmd.Process) // what ComfyUI started and left behind
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		return 1, fmt.Errorf("wait for ComfyUI: %w", err)
	}
	return exitStatus(cmd.ProcessState), nil
}

// Signal passes a signal on to ComfyUI and all that it started. After the
// grace time whatever is left is killed.
func (c *Child) Signal(sig os.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.process == nil {
		c.pending = sig
		return
	}
	c.send(sig)
}

// send needs the lock, so that the process cannot end and its number be given
// to another meanwhile.
func (c *Child) send(sig os.Signal) {
	if err := signalGroup(c.process, sig); err != nil {
		c.log.Warn("cannot pass a signal on to ComfyUI", "signal", sig.String(), "error", err)
	}
	select {
	case c.signal <- struct{}{}:
	default:
	}
}

func (c *Child) started(p *os.Process) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.process = p
	if p != nil && c.pending != nil {
		c.send(c.pending)
	}
}

// watch ends the child when ctx ends or a signal was passed on and the grace
// time is over.
func (c *Child) watch(ctx context.Context, p *os.Process, ended <-chan struct{}) {
	select {
	case <-ended:
		return
	case <-c.signal:
	case <-ctx.Done():
		c.Signal(os.Interrupt)
	}
	select {
	case <-ended:
	case <-time.After(c.opts.Grace):
		c.log.Warn("ComfyUI did not end in time and is killed", "after", c.opts.Grace.String())
		killGroup(p)
	}
}
