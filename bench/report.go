package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"
)

const method = `# How fast

%s

The figures in parentheses are the least and the greatest of the rounds. A ratio is comfylatch's figure divided by the other's of the same round:
of rates more is better, of times and memory less. “Wanted” is what the project has set itself, at least and as an aim.

## How it is measured

` + "`go run ./bench -update`" + ` measures everything in one run and writes this page; ` + "`-only`" + ` measures a part. No root is needed.

- Every server is a process of its own, and all of them listen on loopback. In front of each upstream stand comfylatch, nginx, Caddy and oauth2-proxy; each lets in only who shows a token or cookie.
- They are measured in turns, in several rounds, and each round begins with another one. What else the machine does then falls on all alike.
- Small requests, pictures and uploads go to an upstream that answers from memory, so that it is not what is measured. ` + "`/object_info`" + ` and the pages come from the stand-in ComfyUI with the real frontend, which is faster than ComfyUI itself: with the real one, a cache gains more.
- Requests: 32 connections (4 for large answers) that are kept, each of which sends the next request when it has the answer. The client runs on the same machine and takes its share of the processors; the processor time per request leaves it out.
- All connections of a line ask for the same, unless it says "each another". comfylatch lets those that wait for the same share one answer of ComfyUI's, as open pages do whenever the queue changes ([how](design.md)).
- nginx: as many workers as processors, kept connections to ComfyUI, compression at level 4, a year's life for ` + "`/assets/`" + `, the token checked by ` + "`map`" + `, uploads not buffered. Caddy: compression, the token checked by a matcher. oauth2-proxy: a password file; its token is the password as Basic.
- Memory is the resident set of all of a server's processes. Growth is the most that was seen every 10 ms, less what it was before.
- Pages: Chromium with a fresh profile each time, and a link of 20 Mbit/s and 40 ms there and back, which every connection goes over ([link.go](../bench/link.go)), until the graph stands. The browser is asked for nothing meanwhile: to tell of each request costs it a second. “From Log in” is a cold browser that has been on the login page for five seconds.
`

// writePage writes docs/performance.md.
func (b *bench) writePage(table string) error {
	text := fmt.Sprintf(method, "Measured on "+time.Now().Format("2 January 2006")+" on "+machine()+". "+
		"Before it began, the machine's load was "+b.load+": far above 0, others worked beside it, and the figures are rough.\n\n"+table)
	if b.quick {
		text = strings.Replace(text, "Measured on", "Measured in the short version on", 1)
	}
	path := filepath.Join(b.root, "docs", "performance.md")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

// machineLoad is how many programs wanted to run in the last minute.
func machineLoad() string {
	text, _ := os.ReadFile("/proc/loadavg")
	load, _, _ := strings.Cut(string(text), " ")
	return load
}

// machine says what the figures were taken on.
func machine() string {
	parts := []string{fmt.Sprintf("%d cores", runtime.NumCPU())}
	if name := field("/proc/cpuinfo", "model name"); name != "" {
		parts[0] += " (" + name + ")"
	}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		parts = append(parts, "Linux "+strings.TrimSpace(string(release)))
	}
	parts = append(parts, "Go "+strings.TrimPrefix(runtime.Version(), "go"))
	for _, one := range []struct {
		name string
		args []string
	}{{"nginx", []string{"-v"}}, {"caddy", []string{"version"}}, {"oauth2-proxy", []string{"--version"}}, {"chromium", []string{"--version"}}} {
		if path := tool(one.name); path != "" {
			out, _ := exec.Command(path, one.args...).CombinedOutput()
			if v := version.FindString(string(out)); v != "" {
				parts = append(parts, one.name+" "+v)
			}
		}
	}
	return strings.Join(parts, ", ")
}

var version = regexp.MustCompile(`\d+\.\d+[.\d]*`)

// field reads a line "name : value".
func field(file, name string) string {
	text, _ := os.ReadFile(file)
	_, rest, _ := strings.Cut(string(text), name)
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(strings.TrimLeft(line, "\t :"))
}
