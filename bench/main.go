// Command bench measures comfylatch beside a direct connection, nginx, Caddy
// and oauth2-proxy, in one run on one machine, and prints one table of ratios.
//
//	go run ./bench                  everything that is at hand; about 20 minutes
//	go run ./bench -quick           a short version without the browser, under a minute
//	go run ./bench -only 'small|view'    some scenarios; page 1.45 is one of the page loads
//	go run ./bench -update          also writes docs/performance.md
//
// It needs no root. nginx, caddy, oauth2-proxy and chromium are used where they
// are found on the PATH or in the folder $BENCH_BIN. The page loads need
// ComfyUI's real frontends in $COMFYLATCH_FRONTENDS (./test browser puts them
// there and says where), and take a real ComfyUI as well where $COMFYUI_URL
// names one.
//
// Each server is a process of its own, in front of the same upstream, and all
// of them listen on loopback. They are measured in turns, several rounds, each
// round beginning with another one: what else the machine does then falls on
// all alike. A ratio is taken within a round, and the table gives the median of
// the rounds and, in parentheses, the least and the greatest.
//
// The rule that must hold: nothing here asserts a time. The table says what
// was reached; it fails only when something did not work.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// bench is one run.
type bench struct {
	ctx   context.Context
	quick bool
	only  *regexp.Regexp // of scenarios
	root  string         // of the module
	dir   string         // for everything temporary
	self  string         // this program, which is the upstreams too
	gate  string         // the stripped comfylatch
	load  string         // of the machine, before
	rows  []*row
	left  []string // what could not be measured, and why
}

const longest = 45 * time.Minute // for a whole run

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) > 0 && serves[args[0]] != nil {
		return serves[args[0]](ctx, args[1:])
	}
	flags := flag.NewFlagSet("bench", flag.ExitOnError)
	quick := flags.Bool("quick", false, "a short version, without the browser")
	update := flags.Bool("update", false, "write docs/performance.md")
	only := flags.String("only", "", "measure only the scenarios whose name matches this regular expression")
	if err := flags.Parse(args); err != nil {
		return err
	}
	pattern, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	b := &bench{ctx: ctx, quick: *quick, only: pattern, load: machineLoad()}
	if err := b.prepare(); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	err = b.measure()
	if len(b.rows) == 0 && err == nil {
		return fmt.Errorf("no scenario matches %q", *only)
	}
	table := b.table() // also of a run that was cut short
	fmt.Fprintln(out, table)
	if err != nil || !*update {
		return err
	}
	return b.writePage(table)
}

// prepare finds the module, makes the temporary folder and builds the gate as
// a release is built.
func (b *bench) prepare() (err error) {
	mod, err := exec.CommandContext(b.ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return fmt.Errorf("find the module: %w", err)
	}
	b.root = filepath.Dir(strings.TrimSpace(string(mod)))
	if _, err := os.Stat(filepath.Join(b.root, "cmd", "comfylatch")); err != nil {
		return fmt.Errorf("this is not comfylatch's module: %w; run it from there", err)
	}
	if b.self, err = os.Executable(); err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	if b.dir, err = os.MkdirTemp("", "comfylatch-bench-"); err != nil {
		return err
	}
	b.gate = filepath.Join(b.dir, "comfylatch")
	build := exec.CommandContext(b.ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", b.gate, "./cmd/comfylatch")
	build.Dir, build.Env = b.root, append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		os.RemoveAll(b.dir)
		return fmt.Errorf("build the gate: %w\n%s", err, text)
	}
	return nil
}

// scenario is something to be measured, under a name for -only.
type scenario struct {
	name    string
	measure func(*bench) error
}

var scenarios = []scenario{
	{"small", (*bench).small},
	{"different", (*bench).different},
	{"real small", (*bench).smallReal},
	{"object_info", (*bench).objectInfo},
	{"view", (*bench).view},
	{"upload", (*bench).upload},
	{"memory", (*bench).memory},
	{"sockets", (*bench).sockets},
	{"flood", (*bench).flood},
	{"start", (*bench).start},
	{"tokens", (*bench).tokens},
	{"page", (*bench).pages},
}

func (b *bench) measure() error {
	for _, s := range scenarios {
		if !b.only.MatchString(s.name) && s.name != "page" { // which is picked by the frontend's version, too
			continue
		}
		began := time.Now()
		err := s.measure(b)
		if b.ctx.Err() != nil {
			return errors.Join(b.ctx.Err(), err)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		fmt.Fprintf(os.Stderr, "%s: %.0f s\n", s.name, time.Since(began).Seconds())
	}
	return nil
}

// leave notes something that is not measured.
func (b *bench) leave(format string, a ...any) {
	text := fmt.Sprintf(format, a...)
	fmt.Fprintln(os.Stderr, "left out:", text)
	b.left = append(b.left, text)
}

// pick chooses between the long run's value and the short one's.
func pick[T any](b *bench, long, short T) T {
	if b.quick {
		return short
	}
	return long
}
