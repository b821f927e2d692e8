package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// start is what the gate costs before it does anything.
func (b *bench) start() error {
	l, err := b.rawLine()
	if err != nil {
		return err
	}
	defer l.stop()
	first := b.add(&row{what: "start to first answer, with a database", unit: "ms", lower: true, goals: []goal{{"", 150, 50}}})
	idle := b.add(&row{what: "memory when idle", unit: "MB", lower: true, goals: []goal{{"", 30, 25}}})
	size := b.add(&row{what: "size of the binary", unit: "MB", lower: true, goals: []goal{{"", 30, 25}}})
	info, err := os.Stat(b.gate)
	if err != nil {
		return err
	}
	size.put(gate, float64(info.Size())/(1<<20))
	state := filepath.Join(b.dir, "state-start")
	s := &server{name: gate}
	if err := b.makeToken(s, state); err != nil {
		return err
	}
	for i := range pick(b, 15, 5) {
		took, err := b.startOnce(s, l.servers[0].addr, state)
		if err != nil {
			return err
		}
		if i == 0 { // the set-up: the database was all but empty
			err = s.logIn("/login", logInForm)
		} else {
			first.put(gate, float64(took.Microseconds())/1000)
		}
		if i > 0 && i <= pick(b, 3, 1) {
			time.Sleep(settle)
			idle.put(gate, float64(s.process.rss())/(1<<20))
		}
		s.process.stop()
		if err != nil {
			return err
		}
	}
	return nil
}

// startOnce starts the gate and gives the time until it has passed a request
// on to ComfyUI and the answer back.
func (b *bench) startOnce(s *server, upstream, state string) (took time.Duration, err error) {
	if s.addr, err = freeAddr(); err != nil {
		return 0, err
	}
	began := time.Now()
	if s.process, err = b.launch(b.gate, "--listen", s.addr, "--upstream", "http://"+upstream, "--state", state); err != nil {
		return 0, err
	}
	for time.Since(began) < 10*time.Second {
		if status, err := ask(b.ctx, s.addr, s.get("/api/queue", byToken)); err == nil && status == http.StatusOK {
			return time.Since(began), nil
		}
		time.Sleep(time.Millisecond)
	}
	defer s.process.stop()
	return 0, fmt.Errorf("the gate does not answer:\n%s", s.process.log.String())
}
