package session

import (
	"strings"
	"sync"
	"time"

	"comfylatch/internal/account"
)

// Watch tells when the session or token behind p has ended: the channel is
// closed then, at once if it has ended already. The caller, who holds a socket
// open for p, must call release when the socket closes. A session with an open
// socket counts as used. What has no Ref (the fixed key) never ends.
func (m *Manager) Watch(p account.Principal) (ended <-chan struct{}, release func()) {
	if p.Ref == "" {
		return nil, func() {}
	}
	over := make(chan struct{})
	return over, m.watches.add(p, func() { close(over) })
}

// OnEnd is Watch for those who are many: instead of waiting on a channel, which
// takes a goroutine each, they are called, once, from another goroutine.
func (m *Manager) OnEnd(p account.Principal, call func()) (release func()) {
	if p.Ref == "" {
		return func() {}
	}
	return m.watches.add(p, func() { go call() })
}

// Watched gives the Refs that somebody watches and that begin with prefix: how
// those who keep another kind of credential find what they must look after.
func (m *Manager) Watched(prefix string) []string {
	return m.watches.refs(func(ref string) bool { return strings.HasPrefix(ref, prefix) })
}

const (
	rememberEnded = time.Minute // longer than from finding a session to watching it
	maxEnded      = 1 << 16
)

type watch struct {
	who account.Principal
	end func() // called once, under watches.mu: it does not wait
}

// watches is who waits for which session's end. Its lock is taken when a
// socket opens or closes, never for a plain request.
type watches struct {
	mu    sync.Mutex
	byRef map[string]map[*watch]struct{}
	// past holds what ended a moment ago, for a socket that was let in just
	// before and is only now about to be watched.
	past map[string]time.Time
}

func (w *watches) init() {
	w.byRef = make(map[string]map[*watch]struct{})
	w.past = make(map[string]time.Time)
}

func (w *watches) add(p account.Principal, end func()) (release func()) {
	one := &watch{who: p, end: end}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, over := w.past[p.Ref]; over {
		end()
		return func() {}
	}
	if w.byRef[p.Ref] == nil {
		w.byRef[p.Ref] = make(map[*watch]struct{})
	}
	w.byRef[p.Ref][one] = struct{}{}
	return func() { w.release(one) }
}

func (w *watches) release(one *watch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.byRef[one.who.Ref]
	delete(all, one)
	if len(all) == 0 {
		delete(w.byRef, one.who.Ref)
	}
}

func (w *watches) end(refs []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ref := range refs {
		w.endOne(ref)
	}
}

func (w *watches) endIf(match func(account.Principal) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ref, all := range w.byRef {
		for one := range all {
			if match(one.who) {
				w.endOne(ref) // all of one Ref are the same somebody
				break
			}
		}
	}
}

// endOne closes all watches of a Ref. The caller holds w.mu.
func (w *watches) endOne(ref string) {
	for one := range w.byRef[ref] {
		one.end()
	}
	delete(w.byRef, ref)
	if len(w.past) >= maxEnded {
		for old := range w.past { // any: all are younger than a minute
			delete(w.past, old)
			break
		}
	}
	w.past[ref] = time.Now()
}

// forget drops what ended so long ago that nobody is about to watch it.
func (w *watches) forget(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ref, at := range w.past {
		if now.Sub(at) > rememberEnded {
			delete(w.past, ref)
		}
	}
}

func (w *watches) refs(match func(ref string) bool) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var refs []string
	for ref := range w.byRef {
		if match(ref) {
			refs = append(refs, ref)
		}
	}
	return refs
}

// isSession tells a session's Ref from a token's, which has a prefix.
func isSession(ref string) bool {
	_, ok := parseHash(ref)
	return ok
}
