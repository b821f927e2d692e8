package proxy

import (
	"bytes"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// backlog is what a client has not taken yet of what ComfyUI has sent.
// ComfyUI sends each event to everybody in turn and waits for each (server.py,
// publish_loop): a client that takes nothing for a moment must not hold up all
// others. It is empty and costs nothing until that happens.
type backlog struct {
	mu       sync.Mutex
	parts    []part
	size     int           // bytes in parts
	draining bool          // a goroutine writes them
	ended    bool          // nothing more is taken
	moved    *sync.Cond    // told when any of this changes
	all      *atomic.Int64 // the bytes of all clients together
}

// part is a piece of a frame.
type part struct {
	bytes []byte
	first bool // a frame begins with it
}

const (
	slowAfter = 20 * time.Millisecond // of waiting for a client
	maxBehind = 32 << 20              // bytes when a frame begins; one still larger is passed on as it is taken
	maxAll    = 256 << 20             // bytes, of all clients
)

var errBehind = errors.New("the client is too far behind")

// keep takes bytes that the client does not take now; first says that a frame
// begins with them. drain is called in a goroutine of its own where none runs.
func (k *backlog) keep(b []byte, first bool, drain func()) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.moved == nil {
		k.moved = sync.NewCond(&k.mu)
	}
	if first && k.size > 0 && (k.size > maxBehind || k.all.Load() > maxAll) {
		return errBehind
	}
	for !k.ended && k.size > 2*maxBehind { // by one frame alone
		k.moved.Wait()
	}
	if k.ended {
		return errClosed
	}
	k.parts = append(k.parts, part{bytes.Clone(b), first})
	k.grow(len(b))
	if !k.draining {
		k.draining = true
		go drain()
	}
	return nil
}

func (k *backlog) grow(n int) {
	k.size += n
	k.all.Add(int64(n))
}

// waits tells whether something must go out before anything new.
func (k *backlog) waits() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.draining || len(k.parts) > 0
}

// drain writes until nothing is left. It gives the error that ended it; what
// is left of a frame then stays.
func (k *backlog) drain(write func([]byte) (int, error)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	defer func() { k.draining = false; k.moved.Broadcast() }()
	for len(k.parts) > 0 && !k.ended {
		b := k.parts[0].bytes
		k.mu.Unlock()
		n, err := write(b)
		k.mu.Lock()
		k.grow(-n)
		if err != nil {
			k.parts[0] = part{b[n:], k.parts[0].first && n == 0}
			return err
		}
		k.parts[0] = part{}
		k.parts = k.parts[1:]
		k.moved.Broadcast()
	}
	if len(k.parts) == 0 {
		k.parts = nil // it may have been long
	}
	return nil
}

// end lets go of what waits and gives what must still be written before
// anything else can be said: the rest of the frame under way.
func (k *backlog) end() (rest []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ended = true
	if k.moved != nil {
		k.moved.Broadcast()
	}
	for k.draining {
		k.moved.Wait()
	}
	for _, p := range k.parts {
		if p.first {
			break
		}
		rest = append(rest, p.bytes...)
	}
	if k.parts = nil; k.size > 0 {
		k.grow(-k.size)
	}
	return rest
}

// stop makes those who wait for room give up.
func (k *backlog) stop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ended = true; k.moved != nil {
		k.moved.Broadcast()
	}
}

// sendSoon writes bytes of a frame to a client and keeps what it does not take
// at once. The caller holds frame.
func (l *leg) sendSoon(b []byte, inside bool) error {
	n := 0
	if !l.late.waits() {
		var err error
		if n, err = l.writeBy(b, slowAfter); err == nil {
			return nil
		}
		var ne net.Error
		if !errors.As(err, &ne) || !ne.Timeout() || l.cutNow() {
			l.broken = inside || n > 0
			return &writeError{err}
		}
	}
	slow := l.slow
	err := l.late.keep(b[n:], !inside && n == 0, func() {
		if err := l.late.drain(l.writeKept); err != nil && !l.cutNow() {
			slow(err)
		}
	})
	if err != nil {
		l.broken = inside || n > 0
		return &writeError{err}
	}
	return nil
}

// writeKept is patient: whoever takes something is there.
func (l *leg) writeKept(b []byte) (int, error) {
	n, err := l.writeBy(b, l.limit)
	if n > 0 {
		l.heard.Store(time.Now().UnixNano())
	}
	return n, err
}

func (l *leg) writeBy(b []byte, limit time.Duration) (int, error) {
	l.deadlines.Lock()
	if !l.isCut {
		l.conn.SetWriteDeadline(time.Now().Add(limit))
	}
	l.deadlines.Unlock()
	return l.conn.Write(b)
}

func (l *leg) cutNow() bool {
	l.deadlines.Lock()
	defer l.deadlines.Unlock()
	return l.isCut
}
