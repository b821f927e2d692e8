package session

import (
	"context"
	"errors"
	"sync"
	"time"

	"comfylatch/internal/account"
)

const (
	pollEvery    = 500 * time.Millisecond // another process's changes show within a second
	flushEvery   = 15 * time.Second
	touchStep    = time.Minute // a session's last use is written at most this often
	sweepEvery   = time.Minute
	flushAtClose = 3 * time.Second
)

// Run does the background work until ctx ends: it writes when sessions were
// last used, ends those whose time is over, and follows what other processes
// (sub-commands beside the gate) did to the store. A store that fails is asked
// again at the next turn; meanwhile what is in memory goes on.
func (m *Manager) Run(ctx context.Context) error {
	poll, flush, sweep := time.NewTicker(pollEvery), time.NewTicker(flushEvery), time.NewTicker(sweepEvery)
	defer poll.Stop()
	defer flush.Stop()
	defer sweep.Stop()
	changes, _ := m.store.ForeignChanges(ctx)
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushAtClose)
			defer cancel()
			return told("write the last uses of sessions", m.flush(last, 0))
		case <-poll.C:
			if n, err := m.store.ForeignChanges(ctx); err == nil && n != changes {
				if m.reload(ctx) == nil {
					changes = n
				}
			}
		case <-flush.C:
			_ = m.flush(ctx, touchStep)
		case <-sweep.C:
			_ = m.sweep(ctx)
		}
	}
}

// flush writes last uses that are at least step newer than what is stored.
func (m *Manager) flush(ctx context.Context, step time.Duration) error {
	now := time.Now()
	seen := m.late.take()
	for _, ref := range m.watches.refs(isSession) { // an open socket is a use
		if key, ok := parseHash(ref); ok {
			if e := m.cache.get(key); e != nil {
				e.see(now)
			} else {
				seen[ref] = now
			}
		}
	}
	var dirty []*entry
	m.cache.each(func(e *entry) {
		at, written := e.seen.Load(), e.written.Load()
		if at > written && at-written >= step.Milliseconds() {
			seen[e.session.Hash] = time.UnixMilli(at)
			dirty = append(dirty, e)
		}
	})
	if len(seen) == 0 {
		return nil
	}
	if err := m.store.TouchSessions(ctx, seen); err != nil {
		return err
	}
	for _, e := range dirty {
		e.written.Store(seen[e.session.Hash].UnixMilli())
	}
	return nil
}

// sweep ends the sessions whose time is over, in the store and in memory.
func (m *Manager) sweep(ctx context.Context) error {
	now := time.Now()
	m.watches.forget(now)
	if err := m.flush(ctx, touchStep); err != nil {
		return err // or what is in use would look unused
	}
	late := now.Add(-2 * touchStep) // the store may lag so much behind
	gone, err := m.store.DeleteOldSessions(ctx, now.Add(-m.cfg.Absolute), late.Add(-m.cfg.Idle), late.Add(-m.cfg.GuestIdle), now)
	if len(gone) > 0 {
		m.End(gone...)
	}
	return err
}

// reload forgets what is in memory, because another process has written, and
// ends the watches of sessions that it deleted.
func (m *Manager) reload(ctx context.Context) error {
	if err := m.flush(ctx, 0); err != nil {
		return err
	}
	m.ended.Add(1)
	m.cache.drop(func(*account.Session) bool { return true })
	for _, ref := range m.watches.refs(isSession) {
		_, err := m.store.Session(ctx, ref)
		switch {
		case errors.Is(err, account.ErrNotFound):
			m.End(ref)
		case err != nil:
			return err
		}
	}
	return nil
}

// late keeps the last use of sessions that had to leave the cache until the
// next flush.
type late struct {
	mu   sync.Mutex
	seen map[string]time.Time
}

func (l *late) add(e *entry) {
	if e.seen.Load() == e.written.Load() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil {
		l.seen = make(map[string]time.Time)
	}
	l.seen[e.session.Hash] = time.UnixMilli(e.seen.Load())
}

func (l *late) take() map[string]time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := l.seen
	l.seen = nil
	if seen == nil {
		seen = make(map[string]time.Time)
	}
	return seen
}
