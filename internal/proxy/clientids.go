package proxy

import (
	"container/list"
	"sync"
	"time"
)

// ClientIDs remembers whose ComfyUI client ids are. In ComfyUI such an id is
// all it takes to receive somebody's events, and /queue and /history show it
// to everybody; so an id belongs to the principal who used it first, while
// they have a socket open with it and for an hour after they last used it.
//
// It is bounded: of the ids without an open socket, each owner keeps a limited
// number, and the longest unused goes first.
type ClientIDs struct {
	mu    sync.Mutex
	ids   map[string]*binding
	idle  map[string]*list.List // owner → *binding without a socket, the longest unused first
	order list.List             // the same of all owners together
}

type binding struct {
	id, owner string
	used      time.Time
	open      int           // sockets
	mine, all *list.Element // in idle and order; nil while a socket is open
}

const (
	idKept      = time.Hour
	idsPerOwner = 256
	idsInAll    = 50_000
	maxClientID = 256 // bytes
)

// NewClientIDs makes an empty memory.
func NewClientIDs() *ClientIDs {
	return &ClientIDs{ids: make(map[string]*binding), idle: make(map[string]*list.List)}
}

// Bind says that owner (account.Principal.ID) uses a client id now. It is
// false, and nothing changes, while the id is another's or is too long.
func (c *ClientIDs) Bind(id, owner string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.bind(id, owner)
	if b == nil {
		return false
	}
	if b.open == 0 {
		c.rest(b)
	}
	return true
}

// hold is Bind for as long as a socket is open: until release.
func (c *ClientIDs) hold(id, owner string) (release func(), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.bind(id, owner)
	if b == nil {
		return nil, false
	}
	b.open++
	return sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		b.used = time.Now()
		if b.open--; b.open == 0 {
			c.rest(b)
		}
	}), true
}

// bind finds or makes the binding, taken out of the lists of idle ones.
func (c *ClientIDs) bind(id, owner string) *binding {
	now := time.Now()
	b := c.ids[id]
	switch {
	case len(id) > maxClientID:
		return nil
	case b == nil:
		b = &binding{id: id, owner: owner}
		c.ids[id] = b
	case b.owner != owner && (b.open > 0 || now.Sub(b.used) < idKept):
		return nil
	default:
		c.unrest(b)
		b.owner = owner
	}
	b.used = now
	return b
}

// rest puts a binding among the idle ones and lets the oldest go where there
// are too many.
func (c *ClientIDs) rest(b *binding) {
	mine := c.idle[b.owner]
	if mine == nil {
		mine = list.New()
		c.idle[b.owner] = mine
	}
	b.mine, b.all = mine.PushBack(b), c.order.PushBack(b)
	if mine.Len() > idsPerOwner {
		c.forget(mine.Front())
	}
	if c.order.Len() > idsInAll {
		c.forget(c.order.Front())
	}
}

func (c *ClientIDs) unrest(b *binding) {
	if b.mine == nil {
		return
	}
	mine := c.idle[b.owner]
	mine.Remove(b.mine)
	c.order.Remove(b.all)
	b.mine, b.all = nil, nil
	if mine.Len() == 0 {
		delete(c.idle, b.owner)
	}
}

func (c *ClientIDs) forget(e *list.Element) {
	b := e.Value.(*binding)
	c.unrest(b)
	delete(c.ids, b.id)
}
