package proxy

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"comfylatch/internal/account"
)

// socket is one client's WebSocket and ComfyUI's end of it. Two goroutines
// relay frames, one for each direction; the second to end says goodbye to
// both sides. Nothing but small structs is held while nothing flows.
type socket struct {
	Presence
	p       *Proxy
	who     account.Principal
	release func()                             // of the client id
	unwatch func()                             // of Options.OnEnd; nil until start
	abort   atomic.Pointer[context.CancelFunc] // of the handshake; nil when that is over

	client, server *leg // nil until start
	ping           [8]byte
	relaying       atomic.Bool
	cause          atomic.Pointer[cause]
	done           chan struct{} // closed when the connection to ComfyUI has really ended

	mu    sync.Mutex // of what follows
	timer *time.Timer
	over  bool
}

// cause is why a socket ends, and what the client is told.
type cause struct {
	code   uint16
	reason string
	err    error // for the log
}

var errPassedClose = errors.New("a close frame was passed on")

// newSocket makes a socket that has not shaken hands yet. The context is the
// handshake's: not the request's, because end must end it, too.
func (p *Proxy) newSocket(r *http.Request, who account.Principal, clientID string, release func()) (*socket, context.Context) {
	s := &socket{p: p, who: who, release: release, done: make(chan struct{})}
	s.Presence = Presence{
		PrincipalID: who.ID(), Name: who.Name, Role: who.Role,
		ClientID: clientID, Address: r.RemoteAddr, Since: time.Now(),
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.abort.Store(&cancel)
	rand.Read(s.ping[:]) // never fails
	return s, ctx
}

// end ends the socket; the first cause counts. It does not wait.
func (s *socket) end(c cause) {
	if !s.cause.CompareAndSwap(nil, &c) {
		return
	}
	s.endHandshake()
	if s.relaying.Load() {
		s.interrupt()
	}
}

// endHandshake lets the handshake's context go, which idle sockets do not need.
func (s *socket) endHandshake() {
	if cancel := s.abort.Swap(nil); cancel != nil {
		(*cancel)()
	}
}

// interrupt makes both directions stop where they are.
func (s *socket) interrupt() {
	s.client.cut()
	s.server.cut()
}

// start begins the relay. Its goroutines belong to the registry.
func (s *socket) start() {
	running := &s.p.sockets.running
	s.client.late.all = &s.p.behind
	s.client.slow = func(err error) {
		s.end(cause{code: closeTryLater, reason: "too slow", err: err})
	}
	s.client.heard.Store(time.Now().UnixNano())
	s.mu.Lock()
	s.timer = time.AfterFunc(s.p.times.Ping, s.tick)
	s.mu.Unlock()
	s.client.readBy(time.Now().Add(s.p.times.Silence))
	s.endHandshake()
	s.relaying.Store(true)
	if s.cause.Load() != nil { // it came while relaying was not yet set
		s.interrupt()
	}
	if s.p.opts.OnEnd != nil {
		s.unwatch = s.p.opts.OnEnd(s.who, func() { s.end(cause{code: closePolicy, reason: "signed out"}) })
	}
	go func() {
		defer running.Done() // counted by registry.add
		var both sync.WaitGroup
		both.Go(func() { s.direction(s.client, s.server) })
		s.direction(s.server, s.client)
		both.Wait()
		s.farewell()
	}()
}

// direction relays frames until it cannot, and says why.
func (s *socket) direction(from, to *leg) {
	defer func() {
		if v := recover(); v != nil {
			s.p.log.Error("relay of a WebSocket failed", "panic", v, "stack", string(debug.Stack()))
			s.end(cause{code: closeInternal, reason: "internal error"})
		}
	}()
	err := s.pump(from, to)
	var failed *writeError
	switch {
	case err == errPassedClose:
		// The other side answers with a close of its own, and soon.
		to.readAtLast(time.Now().Add(s.p.times.Close))
	case from.isLast():
		// The other side has closed already, so there is nothing to say.
	case errors.As(err, &failed) && to == s.client:
		s.end(cause{code: closeTryLater, reason: "too slow", err: err})
	case errors.As(err, &failed), from == s.server && !errors.Is(err, errFrame):
		s.end(cause{code: closeRestart, reason: "ComfyUI went away", err: err})
	case from == s.server:
		s.end(cause{code: closeInternal, reason: "ComfyUI sent something that is no WebSocket frame", err: err})
	case errors.Is(err, errFrame):
		s.end(cause{code: closeProtocol, reason: "not a valid frame", err: err})
	default:
		s.end(cause{code: closeGoingAway, reason: "the client went away", err: err})
	}
}

// pump relays frames from one side to the other.
func (s *socket) pump(from, to *leg) error {
	for {
		h, n, err := from.next()
		if err != nil {
			return err
		}
		if h.masked != (from == s.client) { // RFC 6455 section 5.1
			return errFrame
		}
		if !h.control() {
			if err := relayData(from, to, n, h.length); err != nil {
				return err
			}
			continue
		}
		frame, err := from.whole(n + int(h.length))
		if err != nil {
			return err
		}
		if h.op == opPong && s.answersOurPing(h, frame[n:]) {
			continue
		}
		if err := to.write(frame, h.op == opClose); err != nil {
			return err
		}
		if h.op == opClose {
			return errPassedClose
		}
	}
}

func (s *socket) answersOurPing(h frameHeader, payload []byte) bool {
	if len(payload) != len(s.ping) {
		return false
	}
	got := [len(s.ping)]byte(payload)
	if h.masked {
		unmask(got[:], h.mask)
	}
	return bytes.Equal(got[:], s.ping[:])
}

// relayData passes one data frame on, as it comes in. n is the size of its
// header, which is still in from's buffer.
func relayData(from, to *leg, n int, length uint64) (err error) {
	to.frame.Lock()
	defer to.frame.Unlock()
	if err := to.open(); err != nil {
		return err
	}
	first := from.take(uint64(n) + length)
	rest := uint64(n) + length - uint64(len(first))
	if err := to.send(first, false); err != nil || rest == 0 {
		return err
	}
	to.broken = true // until the frame is complete
	buf := chunks.Get().(*[chunk]byte)
	defer chunks.Put(buf)
	for rest > 0 {
		got, err := from.read(buf[:min(rest, chunk)])
		if got > 0 {
			if err := to.send(buf[:got], true); err != nil {
				return err
			}
			rest -= uint64(got)
		}
		if err != nil && rest > 0 {
			return err
		}
	}
	to.broken = false
	return nil
}

// tick sends our pings, so that nothing on the way takes the socket for dead,
// and gives the client its time to be heard of.
func (s *socket) tick() {
	switch err := s.client.ping(s.ping[:]); {
	case err == errBusy:
		s.client.heard.Store(time.Now().UnixNano()) // the write deadline watches over it
	case err != nil:
		s.end(cause{code: closeTryLater, reason: "too slow", err: err})
	}
	if err := s.server.ping(s.ping[:]); err != nil && err != errBusy {
		s.end(cause{code: closeRestart, reason: "ComfyUI went away", err: err})
	}
	s.client.readBy(time.Unix(0, s.client.heard.Load()).Add(s.p.times.Silence))
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.timer.Reset(s.p.times.Ping)
	}
}

// farewell tells both sides that it is over. It ends ComfyUI's connection
// first and only then says that the socket is gone.
func (s *socket) farewell() {
	s.mu.Lock()
	s.over = true
	s.timer.Stop()
	s.mu.Unlock()
	c := s.cause.Load()
	if c == nil { // both have closed, or one did and the other did not answer
		c = &cause{code: closeGoingAway}
	}
	s.p.log.Debug("WebSocket ended", "client", s.ClientID, "reason", c.reason, "error", c.err)
	var client sync.WaitGroup
	client.Go(func() { s.client.bye(closePayload(c.code, c.reason), s.p.times.Close) })
	s.server.bye(closePayload(closeGoingAway, ""), s.p.times.Close)
	s.gone()
	client.Wait()
	if s.p.opts.Left != nil {
		s.p.opts.Left(s.Presence)
	}
}

// gone is told once, when ComfyUI has no connection of this socket any more.
func (s *socket) gone() {
	s.endHandshake()
	s.release()
	if s.unwatch != nil {
		s.unwatch()
	}
	s.p.sockets.remove(s)
	close(s.done)
}
