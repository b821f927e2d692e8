package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"comfylatch/internal/standin"
)

// race loads each server of a line in turns. each is called with what one did
// in one round, and with the processor time that its processes took meanwhile.
func (b *bench) race(servers []*server, rounds int, l load, request func(*server) []byte, each func(s *server, w *work, cpu time.Duration)) error {
	for round := range rounds {
		for i := range servers {
			s := servers[(i+round)%len(servers)]
			l.addr, l.request = s.addr, request(s)
			warm := l
			warm.time = l.time / 10
			if _, err := warm.run(b.ctx); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			before := s.cpu()
			w, err := l.run(b.ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			each(s, w, s.cpu()-before)
		}
	}
	return nil
}

func (s *server) cpu() time.Duration {
	if s.process == nil {
		return 0
	}
	return s.process.cpu()
}

var smallGoals = []goal{{nginx, 0.8, 1}, {caddy, 2, 2}}

// smallLoad is 32 connections that ask for little.
func (b *bench) smallLoad() load {
	return load{conns: 32, time: pick(b, 3*time.Second, 500*time.Millisecond)}
}

// small is the many little requests of a page and of programs.
func (b *bench) small() error {
	l, err := b.rawLine(nginx, caddy, oauth2)
	if err != nil {
		return err
	}
	defer l.stop()
	for _, one := range []struct {
		what, path string
		kind       kind
		cpu        bool
	}{
		{"small JSON, token (`/api/queue`)", "/api/queue", byToken, true},
		{"small JSON, cookie (`/api/queue`)", "/api/queue", byCookie, true},
		{"small JSON, token (`/prompt`)", "/prompt", byToken, false},
	} {
		r := b.add(&row{what: one.what, unit: "/s", goals: smallGoals})
		var cost *row
		if one.cpu {
			cost = b.add(&row{what: one.what + ": processor time of the gate", unit: "µs", lower: true})
		}
		err := b.race(l.servers, pick(b, 7, 3), b.smallLoad(),
			func(s *server) []byte { return s.get(one.path, one.kind) },
			func(s *server, w *work, cpu time.Duration) {
				r.put(s.name, w.rate())
				if cost != nil && s.name != direct { // the upstream's own is another thing
					cost.put(s.name, float64(cpu.Microseconds())/float64(w.requests))
				}
			})
		if err != nil {
			return err
		}
	}
	return nil
}

// different is small where no two connections ask for the same: comfylatch lets
// those that ask for the same at once share an answer.
func (b *bench) different() error {
	l, err := b.rawLine(nginx, caddy)
	if err != nil {
		return err
	}
	defer l.stop()
	each := b.smallLoad()
	each.vary = func(request []byte, conn int) []byte {
		return bytes.Replace(request, []byte("/api/queue"), fmt.Appendf(nil, "/api/queue?n=%d", conn), 1)
	}
	return b.queue(l, "small JSON, token, each another (`/api/queue?n=…`)", pick(b, 7, 3), each)
}

// smallReal is small in front of a real ComfyUI.
func (b *bench) smallReal() error {
	addr := realAddr()
	if addr == "" {
		b.leave("small JSON of a real ComfyUI: $COMFYUI_URL is not set")
		return nil
	}
	l, err := b.newLine(addr, nil, []string{nginx, caddy})
	if err != nil {
		return err
	}
	defer l.stop()
	return b.queue(l, "small JSON of a real ComfyUI, token (`/api/queue`)", pick(b, 5, 3), b.smallLoad())
}

// queue is a row of answers to GET /api/queue with a token.
func (b *bench) queue(l *line, what string, rounds int, each load) error {
	r := b.add(&row{what: what, unit: "/s", goals: smallGoals})
	return b.race(l.servers, rounds, each,
		func(s *server) []byte { return s.get("/api/queue", byToken) },
		func(s *server, w *work, _ time.Duration) { r.put(s.name, w.rate()) })
}

// standinLine is a line in front of a stand-in ComfyUI.
func (b *bench) standinLine(version, frontEnd string, names ...string) (*line, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	return b.newLine(addr, []string{"serve-standin", addr, version, frontEnd, b.nodes(version)}, names)
}

// nodes is the file with a real ComfyUI's node definitions, "" where there is
// none.
func (b *bench) nodes(version string) string {
	path := filepath.Join(b.root, "..", "shared", "comfyui", "object_info-"+version+".json.gz")
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// objectInfo is the largest JSON that the frontend asks for.
func (b *bench) objectInfo() error {
	if b.nodes(standin.Version0_24_0) == "" {
		b.leave("`/object_info` of a real ComfyUI: its recording is not at hand; the stand-in's own is small")
	}
	l, err := b.standinLine(standin.Version0_24_0, "", nginx, caddy)
	if err != nil {
		return err
	}
	defer l.stop()
	for _, one := range []struct{ what, accept string }{
		{"`/object_info`, gzip", "gzip"},
		{"`/object_info`, zstd (nginx: gzip)", "gzip, deflate, br, zstd"},
	} {
		r := b.add(&row{what: one.what, unit: "/s", goals: []goal{{nginx, 3, 20}}})
		size := make(map[string]int64)
		err := b.race(l.servers, pick(b, 5, 2), load{conns: 4, time: pick(b, 3*time.Second, 500*time.Millisecond)},
			func(s *server) []byte { return s.get("/object_info", byCookie, "Accept-Encoding: "+one.accept) },
			func(s *server, w *work, _ time.Duration) {
				r.put(s.name, w.rate())
				size[s.name] = w.bytes / int64(max(w.requests, 1))
			})
		if err != nil {
			return err
		}
		r.notes = append(r.notes, fmt.Sprintf("%d KB direct, %d KB by comfylatch, %d KB by nginx", size[direct]>>10, size[gate]>>10, size[nginx]>>10))
	}
	return nil
}

// view is a finished picture.
func (b *bench) view() error {
	l, err := b.rawLine(nginx, caddy, oauth2)
	if err != nil {
		return err
	}
	defer l.stop()
	r := b.add(&row{what: "2 MB `/view`", unit: "MB/s", goals: []goal{{nginx, 0.9, 1}}})
	cost := b.add(&row{what: "2 MB `/view`: processor time of the gate", unit: "µs", lower: true})
	return b.race(l.servers, pick(b, 7, 3), load{conns: 4, time: pick(b, 3*time.Second, 500*time.Millisecond)},
		func(s *server) []byte { return s.get("/view?filename=2097152.png", byCookie) },
		func(s *server, w *work, cpu time.Duration) {
			r.put(s.name, float64(w.bytes)/1e6/w.took.Seconds())
			if s.name != direct {
				cost.put(s.name, float64(cpu.Microseconds())/float64(w.requests))
			}
		})
}
