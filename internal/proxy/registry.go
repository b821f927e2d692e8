package proxy

import (
	"context"
	"errors"
	"sync"
	"time"

	"comfylatch/internal/account"
)

// Presence is one open socket: somebody who has ComfyUI's page or a program
// open.
type Presence struct {
	PrincipalID string
	Name        string
	Role        account.Role
	ClientID    string
	Address     string // of the peer
	Since       time.Time
}

var (
	errTooMany  = errors.New("too many sockets are open")
	errStopping = errors.New("the gate is stopping")
)

// registry knows all sockets, from before their handshake with ComfyUI until
// their connection to it has ended.
type registry struct {
	mu       sync.Mutex
	stopping bool
	all      map[*socket]struct{}
	newest   map[string]*socket // by client id
	count    map[string]int     // by principal
	running  sync.WaitGroup     // goroutines of sockets
}

func (g *registry) init() {
	g.all = make(map[*socket]struct{})
	g.newest = make(map[string]*socket)
	g.count = make(map[string]int)
}

// add enters a socket. The one that had its client id before, if any, does
// not count, and must be ended and waited for before ComfyUI is called:
// when ComfyUI sees an old socket end, it drops the id's new socket too
// (server.py, websocket_handler).
func (g *registry) add(s *socket, limit int) (before *socket, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopping {
		return nil, errStopping
	}
	before = g.newest[s.ClientID]
	n := g.count[s.PrincipalID]
	if before != nil {
		n--
	}
	if limit > 0 && n >= limit {
		return nil, errTooMany
	}
	g.all[s] = struct{}{}
	g.newest[s.ClientID] = s
	g.count[s.PrincipalID]++
	g.running.Add(1)
	return before, nil
}

// remove forgets a socket whose connection to ComfyUI has ended.
func (g *registry) remove(s *socket) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.all, s)
	if g.newest[s.ClientID] == s {
		delete(g.newest, s.ClientID)
	}
	if g.count[s.PrincipalID]--; g.count[s.PrincipalID] <= 0 {
		delete(g.count, s.PrincipalID)
	}
}

func (g *registry) open() []Presence {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := make([]Presence, 0, len(g.all))
	for s := range g.all {
		if s.relaying.Load() {
			list = append(list, s.Presence)
		}
	}
	return list
}

func (g *registry) shutdown(ctx context.Context) error {
	g.mu.Lock()
	g.stopping = true
	for s := range g.all {
		s.end(cause{code: closeGoingAway, reason: "the gate is stopping"})
	}
	g.mu.Unlock()
	done := make(chan struct{})
	go func() {
		g.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
