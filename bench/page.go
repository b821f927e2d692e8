package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"comfylatch/internal/standin"
)

// pages loads ComfyUI's real frontend in a real browser.
func (b *bench) pages() error {
	if b.quick && b.only.String() == "" {
		b.leave("page loads, with -quick: -only page measures them once")
		return nil
	}
	browser := os.Getenv("COMFYLATCH_BROWSER")
	if browser == "" {
		browser = tool("chromium")
	}
	if browser == "" {
		b.leave("page loads: no chromium was found")
		return nil
	}
	for _, v := range []struct{ comfy, frontEnd string }{{standin.Version0_3_64, "1.27.10"}, {standin.Version0_24_0, "1.45.15"}} {
		root := filepath.Join(os.Getenv("COMFYLATCH_FRONTENDS"), "frontend-"+v.frontEnd, "comfyui_frontend_package", "static")
		if _, err := os.Stat(filepath.Join(root, "index.html")); err != nil {
			b.leave("page loads of frontend %s: it is not in $COMFYLATCH_FRONTENDS", v.frontEnd)
			continue
		}
		if !b.only.MatchString("page " + v.frontEnd) {
			continue
		}
		l, err := b.standinLine(v.comfy, root, nginx)
		if err != nil {
			return err
		}
		err = b.pageRows(l, browser, "frontend "+v.frontEnd, v.comfy == standin.Version0_24_0)
		l.stop()
		if err != nil {
			return err
		}
	}
	return b.realPage(browser)
}

// realAddr is where a real ComfyUI listens, "" where there is none.
func realAddr() string {
	return strings.TrimPrefix(strings.TrimSuffix(os.Getenv("COMFYUI_URL"), "/"), "http://")
}

func (b *bench) realPage(browser string) error {
	addr := realAddr()
	if addr == "" {
		b.leave("page loads of a real ComfyUI: $COMFYUI_URL is not set")
		return nil
	}
	var stats struct {
		System struct {
			Version string `json:"comfyui_version"`
		}
	}
	r, err := http.Get("http://" + addr + "/system_stats")
	if err != nil {
		return fmt.Errorf("ask the real ComfyUI: %w", err)
	}
	defer r.Body.Close()
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&stats); err != nil {
		return fmt.Errorf("ask the real ComfyUI: %w", err)
	}
	l, err := b.newLine(addr, nil, []string{nginx})
	if err != nil {
		return err
	}
	defer l.stop()
	return b.pageRows(l, browser, "real ComfyUI "+stats.System.Version, strings.Contains(stats.System.Version, "0.24"))
}

// pageRows measures a first and a second load for each server, and a log-in.
func (b *bench) pageRows(l *line, browser, name string, noStore bool) error {
	second := []goal{{nginx, 0.8, 0.8}}
	if noStore {
		second = append([]goal{{direct, 0.25, 0.15}}, second...)
	}
	r1 := b.add(&row{what: name + ", first load", unit: "s", lower: true, goals: []goal{{direct, 0.45, 0.35}, {nginx, 0.95, 0.95}}})
	r2 := b.add(&row{what: name + ", second load", unit: "s", lower: true, goals: second})
	r3 := b.add(&row{what: name + ", from “Log in”", unit: "s", lower: true, goals: []goal{{"first load", 0.6, 0.6}, {"second load", 1, 1}}})
	sizes := make(map[string][2]visitLoad)
	for round := range pick(b, 3, 1) {
		for i := range l.servers {
			s := l.servers[(i+round)%len(l.servers)]
			one, two, err := b.visit(browser, s)
			if err != nil && b.ctx.Err() == nil { // browsers hang now and then, on a busy machine
				fmt.Fprintf(os.Stderr, "%s, %s: once more: %v\n", name, s.name, err)
				one, two, err = b.visit(browser, s)
			}
			if err != nil {
				return fmt.Errorf("%s, %s: %w", name, s.name, err)
			}
			fmt.Fprintf(os.Stderr, "%s, %s: %.1f s, %.1f s\n", name, s.name, one.took.Seconds(), two.took.Seconds())
			r1.put(s.name, one.took.Seconds())
			r2.put(s.name, two.took.Seconds())
			sizes[s.name] = [2]visitLoad{one, two}
		}
		entered, err := b.enter(browser, l.gate())
		if err != nil {
			return fmt.Errorf("%s, log-in: %w", name, err)
		}
		fmt.Fprintf(os.Stderr, "%s, log-in: %.1f s\n", name, entered.took.Seconds())
		r3.put(gate, entered.took.Seconds())
		r3.put("first load", r1.samples[gate][round])
		r3.put("second load", r2.samples[gate][round])
	}
	for n, r := range []*row{r1, r2} {
		var parts []string
		for _, s := range l.servers {
			if got := sizes[s.name][n]; got.requests > 0 {
				mid, _ := spreadOf(r.samples[s.name])
				parts = append(parts, fmt.Sprintf("%s %s s, %.1f MB, %d requests", s.name, number(mid.mid), float64(got.bytes)/1e6, got.requests))
			}
		}
		r.notes = append(r.notes, strings.Join(parts, "; "))
	}
	return nil
}

const typing = 5 * time.Second // a name and a password

// visitLoad is what one page load took.
type visitLoad struct {
	took     time.Duration
	bytes    int64 // as they came over the link
	requests int
}

// visit loads the page with a cold browser, and again with the same.
func (b *bench) visit(browser string, s *server) (one, two visitLoad, err error) {
	w, err := b.openBrowser(browser, s)
	if err != nil {
		return one, two, err
	}
	defer w.close()
	if name, value, ok := strings.Cut(s.cookie, "="); ok {
		if err := w.setCookie(name, value); err != nil {
			return one, two, err
		}
	}
	if one, err = w.load(); err != nil {
		return one, two, fmt.Errorf("first load: %w", err)
	}
	if two, err = w.load(); err != nil {
		return one, two, fmt.Errorf("second load: %w", err)
	}
	return one, two, nil
}

// enter logs in with a cold browser, after a while on the login page.
func (b *bench) enter(browser string, s *server) (visitLoad, error) {
	w, err := b.openBrowser(browser, s)
	if err != nil {
		return visitLoad{}, err
	}
	defer w.close()
	return w.logIn()
}
