package proxy

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// leg is one of a socket's two connections. One goroutine reads from it;
// whoever holds frame may write to it.
type leg struct {
	conn     net.Conn
	early    []byte        // what had come before the relay began
	limit    time.Duration // for one write
	toServer bool

	// The reader's: room for a header and a small frame, so that most frames
	// cost one read and one write, and an idle socket next to nothing.
	buf   []byte
	at, n int // buf[at:n] is not used yet
	seq   sequence
	heard atomic.Int64 // when something last came, in Unix nanoseconds

	frame  sync.Mutex // held while a frame is written; of the two below
	broken bool       // the last frame is not whole: nothing more can be said
	closed bool       // a close frame was sent

	late backlog     // of a client; ComfyUI takes what it is sent
	slow func(error) // called where a client takes nothing; nil for ComfyUI

	deadlines sync.Mutex // of what follows
	isCut     bool
	last      time.Time // reading ends here whatever happens
}

// Room for what mostly comes: pongs from a client, events from ComfyUI. The
// least is a control frame's 125 bytes and its header's 14.
const (
	clientRoom = 144 // bytes
	serverRoom = 512
)

func clientLeg(conn net.Conn, early []byte, limit time.Duration) *leg {
	return &leg{conn: conn, early: early, limit: limit, buf: make([]byte, clientRoom)}
}

func serverLeg(conn net.Conn, early []byte, limit time.Duration) *leg {
	return &leg{conn: conn, early: early, limit: limit, toServer: true, buf: make([]byte, serverRoom)}
}

// writeError is a failure to write, as opposed to one to read.
type writeError struct{ err error }

func (e *writeError) Error() string { return e.err.Error() }
func (e *writeError) Unwrap() error { return e.err }

var (
	errClosed = errors.New("the WebSocket is closed already")
	errBusy   = errors.New("a frame is on its way")
)

// read gives what came early, then what comes.
func (l *leg) read(p []byte) (int, error) {
	if len(l.early) > 0 {
		n := copy(p, l.early)
		if l.early = l.early[n:]; len(l.early) == 0 {
			l.early = nil
		}
		return n, nil
	}
	n, err := l.conn.Read(p)
	if n > 0 {
		l.heard.Store(time.Now().UnixNano())
	}
	return n, err
}

// fill reads more into the buffer, which has room.
func (l *leg) fill() error {
	if l.at > 0 {
		l.n = copy(l.buf, l.buf[l.at:l.n])
		l.at = 0
	}
	n, err := l.read(l.buf[l.n:])
	l.n += n
	if n > 0 {
		return nil
	}
	return err
}

// next waits for a frame and reads its header, which stays in the buffer. n
// is the header's size in bytes.
func (l *leg) next() (h frameHeader, n int, err error) {
	for {
		h, n, err = parseFrameHeader(l.buf[l.at:l.n])
		if err != nil {
			return h, 0, err
		}
		if n > 0 {
			return h, n, l.seq.next(h)
		}
		if err := l.fill(); err != nil {
			if err == io.EOF && l.n > l.at {
				err = io.ErrUnexpectedEOF
			}
			return h, 0, err
		}
	}
}

// whole gives a frame of at most a control frame's size, header and all. It
// is valid until the next read.
func (l *leg) whole(size int) ([]byte, error) {
	for l.n-l.at < size {
		if err := l.fill(); err != nil {
			return nil, err
		}
	}
	return l.take(uint64(size)), nil
}

// take gives up to most bytes of the buffer, valid until the next read.
func (l *leg) take(most uint64) []byte {
	have := l.n - l.at
	if most < uint64(have) {
		have = int(most)
	}
	b := l.buf[l.at : l.at+have]
	l.at += have
	return b
}

// open tells whether a frame may be sent now. The caller holds frame.
func (l *leg) open() error {
	if l.broken || l.closed {
		return &writeError{errClosed}
	}
	return nil
}

// write sends one whole frame.
func (l *leg) write(frame []byte, isClose bool) error {
	l.frame.Lock()
	defer l.frame.Unlock()
	if err := l.open(); err != nil {
		return err
	}
	if err := l.send(frame, false); err != nil {
		return err
	}
	l.closed = isClose
	return nil
}

// ping sends a ping, unless a frame is on its way: no ping may break into it,
// and while one is, nobody takes the connection for dead.
func (l *leg) ping(payload []byte) error {
	if !l.frame.TryLock() {
		return errBusy
	}
	defer l.frame.Unlock()
	if l.open() != nil {
		return nil
	}
	return l.send(controlFrame(opPing, payload, l.toServer), false)
}

// send writes bytes of a frame; inside says that it has begun already. The
// caller holds frame.
func (l *leg) send(b []byte, inside bool) error {
	if l.slow != nil {
		return l.sendSoon(b, inside)
	}
	n, err := l.writeBy(b, l.limit)
	if err != nil {
		l.broken = inside || n > 0
		return &writeError{err}
	}
	return nil
}

// readBy limits the wait for the next byte, unless a tighter limit was set.
func (l *leg) readBy(t time.Time) {
	l.deadlines.Lock()
	defer l.deadlines.Unlock()
	if !l.isCut && (l.last.IsZero() || t.Before(l.last)) {
		l.conn.SetReadDeadline(t)
	}
}

// readAtLast limits reading for good.
func (l *leg) readAtLast(t time.Time) {
	l.deadlines.Lock()
	defer l.deadlines.Unlock()
	l.last = t
	if !l.isCut {
		l.conn.SetReadDeadline(t)
	}
}

func (l *leg) isLast() bool {
	l.deadlines.Lock()
	defer l.deadlines.Unlock()
	return !l.last.IsZero()
}

// cutTime is what a write that is under way gets to complete its frame when
// the socket must end.
const cutTime = 100 * time.Millisecond

// cut ends reading now and writing very soon.
func (l *leg) cut() {
	defer l.late.stop()
	l.deadlines.Lock()
	defer l.deadlines.Unlock()
	l.isCut = true
	l.conn.SetReadDeadline(time.Unix(1, 0))
	l.conn.SetWriteDeadline(time.Now().Add(cutTime))
}

// bye sends a close frame if one can still be sent, waits until the other
// side has ended the connection, at most for the given time, and ends it.
// Ending it at once would reset it where bytes have not been read, and the
// close frame would be lost with them (RFC 6455 section 7.1.1).
func (l *leg) bye(payload []byte, wait time.Duration) {
	defer l.conn.Close()
	l.frame.Lock()
	defer l.frame.Unlock()
	l.deadlines.Lock()
	l.isCut = true
	l.conn.SetDeadline(time.Now().Add(wait))
	l.deadlines.Unlock()
	if rest := l.late.end(); len(rest) > 0 {
		if _, err := l.conn.Write(rest); err != nil {
			return
		}
	}
	l.slow = nil // from here on it is waited for
	if l.open() == nil {
		if l.send(controlFrame(opClose, payload, l.toServer), false) != nil {
			return
		}
	}
	l.closed = true
	// A server ends a closed WebSocket by itself, and ComfyUI forgets the
	// client id before it does: it must not see our end first. From a frame
	// that is not whole only our end leads out.
	if half, ok := l.conn.(interface{ CloseWrite() error }); ok && (!l.toServer || l.broken) {
		half.CloseWrite()
	}
	for {
		if _, err := l.conn.Read(l.buf[:]); err != nil { // its reader has ended
			return
		}
	}
}
