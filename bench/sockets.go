package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// sockets is what an open page costs that says nothing.
func (b *bench) sockets() error {
	most := (openFiles() - 600) / 2 // a gate holds two for each, and some more
	for _, n := range pick(b, []int{2000, 10000}, []int{1000}) {
		n = min(n, most)
		r := b.add(&row{what: fmt.Sprintf("memory per idle socket, %d of them", n), unit: "KB", lower: true, goals: []goal{{"", 14, 8}}})
		for range pick(b, 3, 1) {
			if err := b.hold(r, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// openFiles is how many files a process may open here.
func openFiles() int {
	text, _ := os.ReadFile("/proc/self/limits")
	_, rest, _ := strings.Cut(string(text), "Max open files")
	if words := strings.Fields(rest); len(words) > 1 {
		if n, err := strconv.Atoi(words[1]); err == nil { // the hard limit: Go raises the other
			return n
		}
	}
	return 1024
}

// settle is how long a server gets to give back what opening has cost.
const settle = 3 * time.Second

// hold opens n sockets at each server of a fresh line and weighs it.
func (b *bench) hold(r *row, n int) error {
	l, err := b.rawLine(nginx, caddy)
	if err != nil {
		return err
	}
	defer l.stop()
	for _, s := range l.servers[1:] {
		before := s.process.rss()
		open, err := b.open(s, n)
		if err == nil {
			time.Sleep(settle)
			r.put(s.name, float64(s.process.rss()-before)/1024/float64(n))
		}
		for _, c := range open {
			c.close()
		}
		if err != nil {
			return fmt.Errorf("%d sockets at %s: %w", n, s.name, err)
		}
	}
	return nil
}

// open opens n sockets, 32 at a time.
func (b *bench) open(s *server, n int) (open []*conn, err error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	next := make(chan int)
	for range 32 {
		wg.Go(func() {
			for i := range next {
				c, e := b.socket(s, i)
				mu.Lock()
				if e != nil {
					err = e
				} else {
					open = append(open, c)
				}
				mu.Unlock()
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	return open, err
}

func (b *bench) socket(s *server, i int) (*conn, error) {
	c, err := dial(b.ctx, s.addr)
	if err != nil {
		return nil, err
	}
	request := s.get(fmt.Sprintf("/ws?clientId=bench%d", i), byToken, "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")
	status, _, err := c.exchange(request, nil)
	if err == nil && status != http.StatusSwitchingProtocols {
		err = fmt.Errorf("answers %d", status)
	}
	if err != nil {
		c.close()
		return nil, err
	}
	c.br = nil // the buffer is not needed any more
	return c, nil
}

// flood is many people who try passwords at once, and what others notice.
func (b *bench) flood() error {
	tries := pick(b, 300, 100)
	memory := b.add(&row{what: fmt.Sprintf("%d wrong passwords at once: memory", tries), unit: "MB", lower: true})
	calm := b.add(&row{what: "others' wait before", unit: "ms", lower: true})
	during := b.add(&row{what: "others' wait during", unit: "ms", lower: true})
	for range pick(b, 5, 1) {
		if err := b.storm(tries, memory, calm, during); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) storm(tries int, memory, calm, during *row) error {
	l, err := b.rawLine()
	if err != nil {
		return err
	}
	defer l.stop()
	s := l.gate()
	others := load{addr: s.addr, request: s.get("/api/queue", byCookie), conns: 4, time: time.Second, pause: 5 * time.Millisecond}
	before, err := others.run(b.ctx)
	if err != nil {
		return err
	}
	var while *work
	var answers map[int]int
	grown, err := s.process.peak(func() (err error) {
		var flood sync.WaitGroup
		flood.Go(func() { answers = b.guess(s, tries) })
		while, err = others.run(b.ctx)
		flood.Wait()
		return err
	})
	if err != nil {
		return err
	}
	memory.put(gate, float64(grown)/(1<<20))
	calm.put(gate, float64(before.median().Microseconds())/1000)
	during.put(gate, float64(while.median().Microseconds())/1000)
	memory.notes = []string{"the answers were " + tally(answers)}
	return nil
}

// guess sends wrong passwords all at once and counts the answers by status.
func (b *bench) guess(s *server, n int) map[int]int {
	answers := make(map[int]int)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			form := url.Values{"username": {benchUser}, "password": {fmt.Sprint("wrong ", i)}}.Encode()
			status, err := ask(b.ctx, s.addr, fmt.Appendf(nil, "POST /login HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", s.addr, len(form), form))
			if err != nil {
				status = 0
			}
			mu.Lock()
			answers[status]++
			mu.Unlock()
		})
	}
	wg.Wait()
	return answers
}

func tally(answers map[int]int) string {
	var parts []string
	for status, n := range answers {
		parts = append(parts, fmt.Sprintf("%d × %d", n, status))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}
