package main

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// The link that stands between the browser and each server.
const (
	linkSpeed = 20e6 / 8              // bytes per second, each way
	linkDelay = 20 * time.Millisecond // each way
	linkPart  = 8 << 10               // bytes that go over it in one piece
	linkSlack = 3 * time.Millisecond  // by which a sleep may be late without costing speed
)

// link is a slow line between a browser and a server: a speed that all its
// connections share, and a delay. It lies outside the browser, whose own
// simulation costs it processor time for each request and stands still now and
// then.
type link struct {
	net.Listener
	to       string // the server's address
	up, down wire
}

// wire is one direction of a link.
type wire struct {
	bytes atomic.Int64 // that went over it

	mu   sync.Mutex
	free time.Time // when all that was sent has gone
}

// newLink opens a link to the server at the address.
func newLink(to string) (*link, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("open a slow link: %w", err)
	}
	l := &link{Listener: listener, to: to}
	go l.serve()
	return l, nil
}

// url is a page of the server, over the link.
func (l *link) url(path string) string { return "http://" + l.Addr().String() + path }

func (l *link) serve() {
	for {
		client, err := l.Accept()
		if err != nil {
			return // it was closed
		}
		go l.join(client)
	}
}

// join carries a connection over the link until one side ends it.
func (l *link) join(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", l.to)
	if err != nil {
		return
	}
	defer server.Close()
	time.Sleep(2 * linkDelay) // the handshake, which the loopback did at once
	var both sync.WaitGroup
	both.Go(func() { l.up.carry(server, client) })
	both.Go(func() { l.down.carry(client, server) })
	both.Wait()
}

// carry sends what comes from one end to the other, as slowly as the wire is.
func (w *wire) carry(to, from net.Conn) {
	type part struct {
		at   time.Time // when it arrives
		data []byte
	}
	// On the way is no more than what the delay holds.
	way := make(chan part, int(linkSpeed*linkDelay.Seconds())/linkPart+1)
	go func() {
		defer close(way)
		for {
			buffer := make([]byte, linkPart)
			n, err := from.Read(buffer)
			if n > 0 {
				gone := w.take(n)
				time.Sleep(time.Until(gone)) // the others' turn comes before this one's next part
				way <- part{gone.Add(linkDelay), buffer[:n]}
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range way {
		time.Sleep(time.Until(p.at))
		if _, err := to.Write(p.data); err != nil {
			from.Close()
		}
	}
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
}

// take waits in line for n bytes' time on the wire and gives when they have gone.
func (w *wire) take(n int) time.Time {
	w.bytes.Add(int64(n))
	w.mu.Lock()
	defer w.mu.Unlock()
	if start := time.Now().Add(-linkSlack); w.free.Before(start) {
		w.free = start
	}
	w.free = w.free.Add(time.Duration(float64(n) / linkSpeed * float64(time.Second)))
	return w.free
}
