package session

import (
	"crypto/sha256"
	"encoding/hex"
	"sync"
	"sync/atomic"
	"time"

	"comfylatch/internal/account"
)

type hash = [sha256.Size]byte

// entry is a session in memory. Only seen and written change.
type entry struct {
	session account.Session
	seen    atomic.Int64 // unix milliseconds of the last use
	written atomic.Int64 // what the store has of it
}

func newEntry(s account.Session) *entry {
	e := &entry{session: s}
	e.seen.Store(s.SeenAt.UnixMilli())
	e.written.Store(s.SeenAt.UnixMilli())
	return e
}

// see notes a use. A second is fine enough, and keeps requests of one session
// from fighting over one word of memory.
func (e *entry) see(now time.Time) {
	if ms := now.UnixMilli(); ms-e.seen.Load() >= 1000 {
		e.seen.Store(ms)
	}
}

const (
	shards   = 64
	perShard = 256 // sessions: 16,384 in all; more are looked up in the store
)

// cache holds sessions that were used lately, in shards so that requests share
// no lock. Only sessions that exist get in, so strangers cannot fill it.
type cache [shards]shard

type shard struct {
	mu sync.RWMutex
	m  map[hash]*entry
}

func (c *cache) init() {
	for i := range c {
		c[i].m = make(map[hash]*entry)
	}
}

func (c *cache) shard(key hash) *shard { return &c[key[0]%shards] }

func (c *cache) get(key hash) *entry {
	s := c.shard(key)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.m[key]
}

// putIf keeps an entry when ok, asked under the shard's lock, agrees, and gives
// the one that had to go for it, if any.
func (c *cache) putIf(key hash, e *entry, ok func() bool) (kept bool, evicted *entry) {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !ok() {
		return false, nil
	}
	if old, there := s.m[key]; there { // two requests looked it up at once
		e.see(time.UnixMilli(old.seen.Load()))
	} else if len(s.m) >= perShard {
		evicted = s.evict()
	}
	s.m[key] = e
	return true, evicted
}

// evict removes the longest unused of eight; a map's order is random.
func (s *shard) evict() *entry {
	var oldest *entry
	var key hash
	n := 0
	for k, e := range s.m {
		if oldest == nil || e.seen.Load() < oldest.seen.Load() {
			oldest, key = e, k
		}
		if n++; n == 8 {
			break
		}
	}
	delete(s.m, key)
	return oldest
}

func (c *cache) remove(key hash) {
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.m, key)
}

// drop removes the sessions that match and gives their hashes.
func (c *cache) drop(match func(*account.Session) bool) []string {
	var gone []string
	for i := range c {
		s := &c[i]
		s.mu.Lock()
		for key, e := range s.m {
			if match(&e.session) {
				delete(s.m, key)
				gone = append(gone, e.session.Hash)
			}
		}
		s.mu.Unlock()
	}
	return gone
}

// each calls f for every session in memory.
func (c *cache) each(f func(*entry)) {
	for i := range c {
		s := &c[i]
		s.mu.RLock()
		for _, e := range s.m {
			f(e)
		}
		s.mu.RUnlock()
	}
}

func parseHash(ref string) (key hash, ok bool) {
	b, err := hex.DecodeString(ref)
	if err != nil || len(b) != len(key) {
		return key, false
	}
	return hash(b), true
}
