//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"comfylatch/internal/standin"
)

// These take minutes and print figures; they run where COMFYLATCH_EXHAUST is
// set: COMFYLATCH_EXHAUST=60s go test -v -run Exhaust ./cmd/comfylatch

// subject is a gate as a process of its own.
type subject struct {
	t    *testing.T
	url  string
	addr string
	pid  int
	in   *http.Client // somebody who is logged in
}

func exhaustTime(t *testing.T) time.Duration {
	d, err := time.ParseDuration(os.Getenv("COMFYLATCH_EXHAUST"))
	if err != nil {
		t.Skip("COMFYLATCH_EXHAUST is not set to a length of time")
	}
	return d
}

func newSubject(t *testing.T) *subject {
	comfy, err := standin.New(standin.Config{})
	if err != nil {
		t.Fatal(err)
	}
	back := httptest.NewServer(comfy)
	ctx, cancel := context.WithCancel(t.Context())
	go comfy.Run(ctx)
	program := filepath.Join(t.TempDir(), "comfylatch")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	cmd := exec.CommandContext(ctx, program, "--upstream", back.URL, "--listen", addr, "--state", filepath.Join(t.TempDir(), "state"))
	cmd.Stderr = io.Discard
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); cmd.Wait(); back.Close(); comfy.Close() })
	jar, _ := cookiejar.New(nil)
	s := &subject{t: t, url: "http://" + addr, addr: addr, pid: cmd.Process.Pid, in: &http.Client{Jar: jar, Timeout: 10 * time.Second}}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		res, err := s.in.PostForm(s.url+"/login", url.Values{"username": {"me"}, "password": {"a good password"}})
		if err == nil {
			res.Body.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	s.ask(500)
	return s
}

// ask makes n requests one after another and gives the median and the slowest;
// each tenth on a connection of its own.
func (s *subject) ask(n int) (median, worst time.Duration, failed int) {
	var all []time.Duration
	for i := range n {
		if i%10 == 0 {
			s.in.CloseIdleConnections()
		}
		began := time.Now()
		res, err := s.in.Get(s.url + "/queue")
		if err == nil {
			io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
		if err != nil || res.StatusCode != 200 {
			failed++
			continue
		}
		all = append(all, time.Since(began))
	}
	if len(all) == 0 {
		return 0, 0, failed
	}
	slices.Sort(all)
	return all[len(all)/2], all[len(all)-1], failed
}

var rssLine = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)

// size is the process's memory in MB and its open files.
func (s *subject) size() (mb, files int) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid))
	if m := rssLine.FindSubmatch(status); err == nil && m != nil {
		kb, _ := strconv.Atoi(string(m[1]))
		mb = kb >> 10
	}
	entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.pid))
	return mb, len(entries)
}

func (s *subject) tell(when string, n int) {
	median, worst, failed := s.ask(n)
	mb, files := s.size()
	s.t.Logf("%-28s %4d MB, %5d files; %d requests: median %v, slowest %v, %d failed", when, mb, files, n, median.Round(time.Microsecond), worst.Round(time.Millisecond), failed)
	if failed > 0 {
		s.t.Errorf("%s: %d of %d requests failed", when, failed, n)
	}
}

// hold keeps n connections open on which only text was sent, each opened anew
// within a second of its end, until stop.
func (s *subject) hold(stop <-chan struct{}, open *atomic.Int64, n, addresses int, text string) *sync.WaitGroup {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i%addresses))}, Timeout: 5 * time.Second}
			for {
				c, err := from.Dial("tcp", s.addr)
				if err == nil {
					open.Add(1)
					io.WriteString(c, text)
					ended := make(chan struct{})
					go func() { io.Copy(io.Discard, c); close(ended) }()
					select {
					case <-stop:
					case <-ended:
					}
					c.Close()
					<-ended
					open.Add(-1)
				}
				select {
				case <-stop:
					return
				case <-time.After(time.Second):
				}
			}
		})
	}
	return &all
}

// TestExhaustConnections holds 5,000 half-open and 2,000 idle connections.
func TestExhaustConnections(t *testing.T) {
	long := exhaustTime(t)
	for _, c := range []struct {
		name      string
		addresses int
	}{{"from seven addresses", 7}, {"from one address", 1}} {
		t.Run(c.name, func(t *testing.T) {
			s := newSubject(t)
			s.tell("before", 300)
			_, files := s.size()
			stop := make(chan struct{})
			var half, idle atomic.Int64
			a := s.hold(stop, &half, 5000, c.addresses, "GET /queue HTTP/1.1\r\nHost: x\r\n")
			b := s.hold(stop, &idle, 2000, c.addresses, "GET /_latch/x HTTP/1.1\r\nHost: x\r\n\r\n")
			for end := time.Now().Add(long); time.Now().Before(end); {
				time.Sleep(min(long/6, 10*time.Second))
				s.tell(fmt.Sprintf("%d half-open, %d idle", half.Load(), idle.Load()), 300)
			}
			close(stop)
			a.Wait()
			b.Wait()
			s.tell("just after", 300)
			time.Sleep(long)
			s.tell("after the same time again", 300)
			if _, now := s.size(); now > files+20 {
				t.Errorf("%d files are open, before there were %d", now, files)
			}
		})
	}
}

// TestExhaustLogIns tries wrong passwords, 300 at a time.
func TestExhaustLogIns(t *testing.T) {
	long := exhaustTime(t)
	s := newSubject(t)
	s.tell("before", 1000)
	quiet, _, _ := s.ask(1000)
	before, _ := s.size()
	stop := make(chan struct{})
	var tried atomic.Int64
	var all sync.WaitGroup
	for i := range 300 {
		all.Go(func() {
			dial := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, byte(1+i%250), byte(2+i/250))}}
			c := &http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{DialContext: dial.DialContext}}
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				form := fmt.Sprintf("username=somebody%d-%d&password=wrong", i, n)
				res, err := c.Post(s.url+"/login", "application/x-www-form-urlencoded", strings.NewReader(form))
				if err == nil {
					var b bytes.Buffer
					b.ReadFrom(res.Body)
					res.Body.Close()
				}
				tried.Add(1)
			}
		})
	}
	most := before
	var medians []time.Duration
	for end := time.Now().Add(long / 2); time.Now().Before(end); {
		median, _, _ := s.ask(500)
		medians = append(medians, median)
		mb, _ := s.size()
		most = max(most, mb)
	}
	close(stop)
	all.Wait()
	slices.Sort(medians)
	flood := medians[len(medians)/2]
	t.Logf("%d wrong log-ins: memory %d MB before, at most %d MB (+%d); median of a request with a session %v before, %v during (×%.2f)",
		tried.Load(), before, most, most-before, quiet.Round(time.Microsecond), flood.Round(time.Microsecond), float64(flood)/float64(quiet))
	if most-before > 64 {
		t.Errorf("memory grew by %d MB, want at most 64", most-before)
	}
}
