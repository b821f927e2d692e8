package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a server that was started, with the children it has.
type process struct {
	cmd    *exec.Cmd
	log    logTail
	exited chan struct{}
}

// logTail keeps the last of what a process says, for when it fails.
type logTail struct {
	mu   sync.Mutex
	text []byte
}

func (l *logTail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	l.text = l.text[max(0, len(l.text)-4096):]
	return len(p), nil
}

func (l *logTail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(bytes.TrimSpace(l.text))
}

// launch starts a program. It is ended by stop, or with the run.
func (b *bench) launch(name string, args ...string) (*process, error) {
	p := &process{exited: make(chan struct{})}
	p.cmd = exec.CommandContext(b.ctx, name, args...)
	p.cmd.Dir = b.dir
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = 5 * time.Second
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(name), err)
	}
	go func() { p.cmd.Wait(); close(p.exited) }()
	return p, nil
}

// stop ends a process and waits for that.
func (p *process) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(5 * time.Second):
		p.cmd.Process.Kill()
		<-p.exited
	}
}

// listening waits until something accepts connections at the address.
func (p *process) listening(ctx context.Context, addr string) error {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
		if c, err := net.Dial("tcp", addr); err == nil {
			return c.Close()
		}
		select {
		case <-p.exited:
			return fmt.Errorf("%s ended at once:\n%s", filepath.Base(p.cmd.Path), p.log.String())
		default:
		}
	}
	return fmt.Errorf("%s does not listen:\n%s", filepath.Base(p.cmd.Path), p.log.String())
}

// freeAddr finds a free port on loopback.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// tree gives the process and its children: nginx has workers.
func (p *process) tree() []int {
	pids := []int{p.cmd.Process.Pid}
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pids[0]))
	for _, file := range tasks {
		text, _ := os.ReadFile(file)
		for _, word := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(word); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// rss is the memory that the process and its children hold, in bytes. What
// nginx's workers share is counted for each, so only growth is compared.
func (p *process) rss() (total int64) {
	for _, pid := range p.tree() {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		_, rest, _ := strings.Cut(string(text), "VmRSS:")
		if words := strings.Fields(rest); len(words) > 0 {
			kb, _ := strconv.ParseInt(words[0], 10, 64)
			total += kb << 10
		}
	}
	return total
}

// cpu is the processor time that the process and its children have taken.
func (p *process) cpu() (total time.Duration) {
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux that matters
	for _, pid := range p.tree() {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, rest, _ := strings.Cut(string(text), ") ") // the name may hold anything
		if words := strings.Fields(rest); len(words) > 12 {
			user, _ := strconv.Atoi(words[11])
			system, _ := strconv.Atoi(words[12])
			total += time.Duration(user+system) * tick
		}
	}
	return total
}

// peak watches the memory of a process while f runs, and gives by how many
// bytes it grew at most.
func (p *process) peak(f func() error) (int64, error) {
	before := p.rss()
	most := before
	done := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		for {
			most = max(most, p.rss())
			select {
			case <-done:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	})
	err := f()
	close(done)
	watch.Wait()
	return most - before, err
}

// tool finds a program on the PATH or in $BENCH_BIN; "" where there is none.
func tool(name string) string {
	if dir := os.Getenv("BENCH_BIN"); dir != "" {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	if path, err := exec.LookPath("/usr/sbin/" + name); err == nil { // where Debian keeps nginx
		return path
	}
	return ""
}
