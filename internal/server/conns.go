package server

import (
	"container/list"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A door keeps the number of open connections within bounds, so that nobody
// can take them all and nobody is kept out by those who hold many.
//
// A connection waits while no request is under way on it: half-open, or idle
// between requests. Where there are too many, one that has waited for long is
// closed and the newcomer let in: an honest client needs milliseconds for its
// header. Only when all are busy is the newcomer turned away.
//
// A request takes no lock. So the queues hold busy connections too, and the
// one to be closed is found as a clock finds a page: who was busy since it was
// last looked at goes to the end of the queue.
type door struct {
	most    int                   // connections in all
	perHost int                   // of one address, but for sockets
	waiting int                   // of these, such as wait
	trusted func(netip.Addr) bool // proxies: everybody comes from their address

	mu    sync.Mutex
	open  int
	queue list.List // of *seat
	hosts map[netip.Addr]*host
}

// host is one address, or the network of one IPv6 subscriber.
type host struct {
	held    int          // connections, but for sockets
	queue   list.List    // of *seat
	waiting atomic.Int32 // of these, such as wait
}

func newDoor(most int, trusted func(netip.Addr) bool) *door {
	if most <= 0 {
		// Some files are for the database and the like, and each connection may
		// need one more to ComfyUI.
		most = min(max((openFiles()-256)/2, 64), 100_000)
	}
	return &door{most: most, perHost: max(most/4, 32), waiting: 1024, trusted: trusted, hosts: make(map[netip.Addr]*host)}
}

// seat is one connection of a visitor.
type seat struct {
	net.Conn
	door  *door
	addr  netip.Addr  // the zero Addr: not counted by address
	host  *host       // nil: as above
	begun atomic.Bool // bytes of a header have come
	free  atomic.Bool // a socket, which sets its own deadlines
	armed time.Time   // when arm last did; one writes at a time

	waits atomic.Bool // no request is under way
	moved atomic.Bool // one was, since the queues were last gone through
	left  atomic.Bool

	inQueue, inHost *list.Element // guarded by door.mu; nil when it has left or is free
}

// doorListener lets connections in through a door.
type doorListener struct {
	net.Listener
	door *door
}

func (l doorListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if s := l.door.enter(c); s != nil {
			return s, nil
		}
		c.SetWriteDeadline(time.Now().Add(time.Second))
		io.WriteString(c, "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n")
		c.Close()
	}
}

// enter seats a connection, or gives nil when there is no room.
func (d *door) enter(c net.Conn) *seat {
	s := &seat{Conn: c, door: d}
	if ap, err := netip.ParseAddrPort(c.RemoteAddr().String()); err == nil && !d.trusted(ap.Addr().Unmap().WithZone("")) {
		s.addr = subscriber(ap.Addr())
	}
	var out []*seat
	defer func() { // behind the unlocking
		for _, o := range out {
			o.Close()
		}
	}()
	d.mu.Lock()
	defer d.mu.Unlock()
	push := func(q *list.List) bool {
		o := d.longest(q)
		if o != nil {
			out = append(out, o)
			d.remove(o)
		}
		return o != nil
	}
	if h := d.hosts[s.addr]; h != nil && (int(h.waiting.Load()) >= d.waiting || h.held >= d.perHost) && !push(&h.queue) {
		return nil
	}
	if d.open >= d.most && !push(&d.queue) {
		return nil
	}
	d.open++
	s.inQueue = d.queue.PushBack(s)
	if s.addr.IsValid() {
		s.host = d.hosts[s.addr]
		if s.host == nil {
			s.host = &host{}
			d.hosts[s.addr] = s.host
		}
		s.host.held++
		s.inHost = s.host.queue.PushBack(s)
	}
	s.wait(true)
	return s
}

// longest finds a connection that has waited for long; nil when all are busy.
// The caller holds mu, here and below.
func (d *door) longest(q *list.List) *seat {
	for range 2 * q.Len() { // once round for those who were busy in between
		e := q.Front()
		s := e.Value.(*seat)
		if !s.moved.Swap(false) && s.wait(false) {
			return s
		}
		q.MoveToBack(e)
	}
	return nil
}

// subscriber is the part of an address that one subscriber holds.
func subscriber(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		p, _ := a.Prefix(64)
		return p.Addr()
	}
	return a
}

// wait notes that a connection begins or ceases to wait, and tells whether it
// did not already.
func (s *seat) wait(begins bool) bool {
	if !s.waits.CompareAndSwap(!begins, begins) {
		return false
	}
	if s.host != nil {
		if begins {
			s.host.waiting.Add(1)
		} else {
			s.host.waiting.Add(-1)
		}
	}
	return true
}

func (d *door) remove(s *seat) {
	if s.left.Swap(true) {
		return
	}
	d.open--
	d.release(s)
}

// release takes a connection out of the queues, and gives its address one back.
func (d *door) release(s *seat) {
	s.wait(false)
	if s.inQueue == nil {
		return
	}
	d.queue.Remove(s.inQueue)
	if h := s.host; h != nil {
		h.queue.Remove(s.inHost)
		if h.held--; h.held == 0 {
			delete(d.hosts, s.addr)
		}
	}
	s.inQueue, s.inHost = nil, nil
}

// note is the server's ConnState.
func (d *door) note(c net.Conn, state http.ConnState) {
	s, ok := c.(*seat)
	if !ok {
		return
	}
	switch state {
	case http.StateActive:
		s.begun.Store(false)
		s.wait(false)
	case http.StateIdle:
		s.begun.Store(false)
		s.moved.Store(true)
		s.wait(true)
		if s.left.Load() { // in between: nobody counts it any more
			s.wait(false)
		}
	case http.StateHijacked: // from here on it is its principal's, who has a limit of sockets
		s.free.Store(true)
		d.mu.Lock()
		defer d.mu.Unlock()
		d.release(s)
	}
}

// Read answers a header that does not end in time with 408, where net/http
// would only hang up.
func (s *seat) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if n > 0 {
		s.begun.Store(true)
	}
	if err != nil && errors.Is(err, os.ErrDeadlineExceeded) && s.begun.Load() && s.waits.Load() {
		s.Conn.SetWriteDeadline(time.Now().Add(time.Second))
		io.WriteString(s.Conn, "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
	}
	return n, err
}

// Write gives up on a visitor who takes nothing for about a minute.
func (s *seat) Write(p []byte) (n int, err error) {
	const piece = 64 << 10
	if s.free.Load() {
		return s.Conn.Write(p)
	}
	for first := true; first || len(p) > 0; first = false {
		s.arm()
		k, err := s.Conn.Write(p[:min(piece, len(p))])
		n += k
		if err != nil {
			return n, err
		}
		p = p[k:]
	}
	return n, nil
}

// arm gives the next write about a minute. It is not done each time, since it
// costs as much as making a small answer's header.
func (s *seat) arm() {
	if now := time.Now(); now.Sub(s.armed) > bodyTime/20 {
		s.armed = now
		s.Conn.SetWriteDeadline(now.Add(bodyTime))
	}
}

// SetWriteDeadline is for sockets; for others arm sets one.
func (s *seat) SetWriteDeadline(t time.Time) error {
	if !s.free.Load() {
		return nil
	}
	return s.Conn.SetWriteDeadline(t)
}

// Close gives the seat back.
func (s *seat) Close() error {
	s.door.mu.Lock()
	s.door.remove(s)
	s.door.mu.Unlock()
	return s.Conn.Close()
}

// CloseWrite lets a socket say goodbye and still hear the answer.
func (s *seat) CloseWrite() error {
	if half, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return s.Conn.Close()
}

// ReadFrom moves a body inside the kernel where the connection can.
func (s *seat) ReadFrom(r io.Reader) (int64, error) {
	if to, ok := s.Conn.(io.ReaderFrom); ok {
		if !s.free.Load() {
			s.arm()
		}
		return to.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{s}, r)
}
