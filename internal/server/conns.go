package server

import (
	"container/list"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// A door keeps the number of open connections within bounds, so that nobody
// can take them all and nobody is kept out by those who hold many.
//
// A connection waits while no request is under way on it: half-open, or idle
// between requests. Where there are too many, the one that has waited longest
// is closed and the newcomer let in: an honest client needs milliseconds for
// its header. Only when all are busy is the newcomer turned away.
type door struct {
	most    int                   // connections in all
	perHost int                   // of one address, but for sockets
	waiting int                   // of these, such as wait
	trusted func(netip.Addr) bool // proxies: everybody comes from their address

	mu    sync.Mutex
	open  int
	peak  int       // the most that were open since the last flood
	queue list.List // of *seat, all that wait, the longest first
	hosts map[netip.Addr]*host
}

// host is one address, or the network of one IPv6 subscriber.
type host struct {
	held  int       // connections, but for sockets
	queue list.List // of *seat, those that wait, the longest first
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
	begun atomic.Bool // bytes of a header have come
	free  atomic.Bool // a socket, which sets its own deadlines

	inQueue, inHost *list.Element // while it waits; guarded by door.mu, as the next
	left            bool
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
		e := q.Front()
		if e == nil {
			return false
		}
		out = append(out, e.Value.(*seat))
		d.remove(e.Value.(*seat))
		return true
	}
	if h := d.hosts[s.addr]; h != nil && (h.queue.Len() >= d.waiting || h.held >= d.perHost) && !push(&h.queue) {
		return nil
	}
	if d.open >= d.most && !push(&d.queue) {
		return nil
	}
	d.open++
	d.peak = max(d.peak, d.open)
	if s.addr.IsValid() {
		if d.hosts[s.addr] == nil {
			d.hosts[s.addr] = &host{}
		}
		d.hosts[s.addr].held++
	}
	d.wait(s)
	return s
}

// tidy gives the memory of a flood back to the system when the flood is over,
// which Go by itself would keep for long. It ends with ctx.
func (d *door) tidy(ctx context.Context) {
	const many = 500 // connections, some 20 KB each
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for rest := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		d.mu.Lock()
		over := d.peak >= many && d.open < d.peak/4
		if over {
			d.peak, rest = d.open, 3 // the last of it ends a little later
		}
		d.mu.Unlock()
		if rest > 0 {
			rest--
			debug.FreeOSMemory()
		}
	}
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

// wait puts a seat at the end of the queues; here and below the caller holds mu.
func (d *door) wait(s *seat) {
	s.inQueue = d.queue.PushBack(s)
	if h := d.hosts[s.addr]; h != nil {
		s.inHost = h.queue.PushBack(s)
	}
}

func (d *door) unwait(s *seat) {
	if s.inQueue == nil {
		return
	}
	d.queue.Remove(s.inQueue)
	if s.inHost != nil {
		d.hosts[s.addr].queue.Remove(s.inHost)
	}
	s.inQueue, s.inHost = nil, nil
}

func (d *door) remove(s *seat) {
	if s.left {
		return
	}
	s.left = true
	d.unwait(s)
	d.open--
	if !s.free.Load() {
		d.release(s)
	}
}

// release gives an address its connection back.
func (d *door) release(s *seat) {
	if h := d.hosts[s.addr]; h != nil {
		if h.held--; h.held == 0 {
			delete(d.hosts, s.addr)
		}
	}
}

// note is the server's ConnState.
func (d *door) note(c net.Conn, state http.ConnState) {
	s, ok := c.(*seat)
	if !ok || state == http.StateNew || state == http.StateClosed {
		return
	}
	s.begun.Store(false)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unwait(s)
	switch {
	case s.left:
	case state == http.StateIdle:
		d.wait(s)
	case state == http.StateHijacked: // from here on it is its principal's, who has a limit of sockets
		s.free.Store(true)
		d.release(s)
	}
}

func (d *door) waits(s *seat) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return s.inQueue != nil
}

// Read answers a header that does not end in time with 408, where net/http
// would only hang up.
func (s *seat) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if n > 0 {
		s.begun.Store(true)
	}
	if err != nil && errors.Is(err, os.ErrDeadlineExceeded) && s.begun.Load() && s.door.waits(s) {
		s.Conn.SetWriteDeadline(time.Now().Add(time.Second))
		io.WriteString(s.Conn, "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
	}
	return n, err
}

// Write gives up on a visitor who takes nothing for a minute.
func (s *seat) Write(p []byte) (n int, err error) {
	const piece = 64 << 10
	if s.free.Load() {
		return s.Conn.Write(p)
	}
	for first := true; first || len(p) > 0; first = false {
		s.Conn.SetWriteDeadline(time.Now().Add(bodyTime))
		k, err := s.Conn.Write(p[:min(piece, len(p))])
		n += k
		if err != nil {
			return n, err
		}
		p = p[k:]
	}
	return n, nil
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
		return to.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{s}, r)
}
