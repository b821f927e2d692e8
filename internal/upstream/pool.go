package upstream

import (
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// conn is a connection to ComfyUI, used by one exchange at a time.
type conn struct {
	net.Conn
	raw    syscall.RawConn // nil where there is none
	reused bool
	idle   time.Time // since when
	cut    func()    // ends reading and writing now

	probe func(fd uintptr) bool // made once, for alive
	fresh bool                  // what probe found
}

func newConn(c net.Conn) *conn {
	p := &conn{Conn: c, cut: func() { c.SetDeadline(time.Unix(1, 0)) }}
	if s, ok := c.(syscall.Conn); ok {
		p.raw, _ = s.SyscallConn()
	}
	p.probe = func(fd uintptr) bool {
		p.fresh = silent(fd)
		return true
	}
	return p
}

// alive tells whether an idle connection can be used: it has not ended, and
// nothing has come on it that nobody asked for, which would be taken for the
// answer to the next request.
func (c *conn) alive() bool {
	if time.Since(c.idle) > idleTimeout {
		return false
	}
	c.fresh = false
	return c.raw != nil && c.raw.Read(c.probe) == nil && c.fresh
}

// pool holds idle connections without a lock: each slot is taken and filled by
// itself. The lowest slots are used first, so that few connections serve as
// long as few are needed and the others grow old.
type pool struct {
	slots    [maxIdle]atomic.Pointer[conn]
	sweeping atomic.Bool
}

// get takes an idle connection, nil where there is none.
func (p *pool) get() *conn {
	for i := range p.slots {
		slot := &p.slots[i]
		if slot.Load() == nil {
			continue
		}
		if c := slot.Swap(nil); c != nil {
			if c.alive() {
				c.reused = true
				return c
			}
			c.Close()
		}
	}
	return nil
}

// put takes a connection back, on which everything asked for has come.
func (p *pool) put(c *conn) {
	c.idle = time.Now()
	p.keep(c)
}

func (p *pool) keep(c *conn) {
	for i := range p.slots {
		slot := &p.slots[i]
		if slot.Load() == nil && slot.CompareAndSwap(nil, c) {
			if p.sweeping.CompareAndSwap(false, true) {
				time.AfterFunc(idleTimeout, p.sweep)
			}
			return
		}
	}
	c.Close()
}

// sweep ends connections that were idle for too long, and comes again as long
// as there are others.
func (p *pool) sweep() {
	p.sweeping.Store(false)
	for i := range p.slots {
		if c := p.slots[i].Swap(nil); c != nil {
			if c.alive() {
				p.keep(c)
			} else {
				c.Close()
			}
		}
	}
}

// close ends all idle connections.
func (p *pool) close() {
	for i := range p.slots {
		if c := p.slots[i].Swap(nil); c != nil {
			c.Close()
		}
	}
}
