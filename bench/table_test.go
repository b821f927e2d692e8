package main

import (
	"net"
	"strings"
	"testing"
	"time"
)

func TestRatioIsTakenWithinARound(t *testing.T) {
	b := &bench{}
	r := b.add(&row{what: "it", unit: "/s", goals: []goal{{nginx, 0.8, 1}, {caddy, 2, 2}}})
	for round := range 3 { // the machine gets faster, the ratio stays
		speed := float64(int(1) << round)
		r.put(gate, 90*speed)
		r.put(nginx, 100*speed)
	}
	if s, ok := r.ratio(nginx); !ok || s != (spread{0.9, 0.9, 0.9}) {
		t.Errorf("ratio to nginx: %v", s)
	}
	if _, ok := r.ratio(caddy); ok {
		t.Error("a ratio to what was not measured")
	}
	wanted, met := r.verdict()
	if wanted != "≥ 0.8 (aim 1) × nginx; ≥ 2 × Caddy" || met != "must; not measured" {
		t.Errorf("verdict: %q, %q", wanted, met)
	}
	if got := b.table(); !strings.Contains(got, "| it | 180 (90–360) /s | – | 0.9 | – | – |") {
		t.Errorf("the table:\n%s", got)
	}
}

func TestLessIsBetterForTimes(t *testing.T) {
	r := &row{lower: true, samples: map[string][]float64{gate: {20, 24, 26}}, goals: []goal{{"", 25, 24}}}
	if _, met := r.verdict(); met != "aim" {
		t.Errorf("a median of 24 for at most 24: %s", met)
	}
	r.samples[gate] = []float64{26, 27}
	if _, met := r.verdict(); met != "**not met**" {
		t.Errorf("a median of 26.5 for at most 25: %s", met)
	}
}

func TestNumbersHaveThreeDigits(t *testing.T) {
	for v, want := range map[float64]string{0.356: "0.36", 2: "2", 12.34: "12.3", 40: "40", 431.7: "432", 21374.2: "21\u202f374"} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %q, want %q", v, got, want)
		}
	}
}

func TestLoadCountsAnswers(t *testing.T) {
	addr := rawUpstream(t)
	s := &server{name: direct, addr: addr}
	for path, size := range map[string]int64{"/api/queue": 42, "/view?filename=300000.png": 300000} {
		w, err := load{addr: addr, request: s.get(path, byToken), conns: 2, time: 50 * time.Millisecond}.run(t.Context())
		if err != nil || w.requests == 0 || w.bytes != size*int64(w.requests) {
			t.Errorf("%s: %+v, %v", path, w, err)
		}
	}
	if _, err := (load{addr: addr, request: s.get("/missing", byToken), conns: 1, time: time.Second}).run(t.Context()); err == nil {
		t.Error("404 counts as an answer")
	}
}

func TestUploadAndSocketReachTheRawUpstream(t *testing.T) {
	b := &bench{ctx: t.Context()}
	s := &server{name: direct, addr: rawUpstream(t)}
	if _, err := b.send(s, 1<<20); err != nil {
		t.Error(err)
	}
	open, err := b.open(s, 3)
	if err != nil || len(open) != 3 {
		t.Errorf("%d sockets are open: %v", len(open), err)
	}
	for _, c := range open {
		c.close()
	}
}

// rawUpstream runs the raw upstream in this process.
func rawUpstream(t *testing.T) string {
	addr, err := freeAddr()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- serveRaw(t.Context(), []string{addr}) }()
	t.Cleanup(func() { <-done })
	for range 500 {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return addr
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the upstream does not listen")
	return ""
}
