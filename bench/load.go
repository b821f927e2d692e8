package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// load is a number of connections that each send the same request again as
// soon as it is answered, for a time.
type load struct {
	addr    string
	request []byte
	vary    func(request []byte, conn int) []byte // nil: all connections send the same
	conns   int
	time    time.Duration
	pause   time.Duration // before each request
}

// work is what a load did.
type work struct {
	requests int
	bytes    int64 // of bodies, as they came
	took     time.Duration
	waits    []time.Duration // for each answer
}

func (w *work) rate() float64 { return float64(w.requests) / w.took.Seconds() }

// median is the wait that half of the requests did not exceed.
func (w *work) median() time.Duration {
	if len(w.waits) == 0 {
		return 0
	}
	slices.Sort(w.waits)
	return w.waits[len(w.waits)/2]
}

// run works until its time is over. Any answer but 200 is an error.
func (l load) run(ctx context.Context) (*work, error) {
	began := time.Now()
	end := began.Add(l.time)
	parts := make([]work, l.conns)
	errs := make([]error, l.conns)
	var wg sync.WaitGroup
	for i := range l.conns {
		request := l.request
		if l.vary != nil {
			request = l.vary(request, i)
		}
		wg.Go(func() { errs[i] = l.one(ctx, end, request, &parts[i]) })
	}
	wg.Wait()
	sum := &work{took: time.Since(began)}
	for _, p := range parts {
		sum.requests += p.requests
		sum.bytes += p.bytes
		sum.waits = append(sum.waits, p.waits...)
	}
	return sum, errors.Join(errs...)
}

func (l load) one(ctx context.Context, end time.Time, request []byte, w *work) error {
	c, err := dial(ctx, l.addr)
	if err != nil {
		return err
	}
	defer c.close()
	for now := time.Now(); now.Before(end) && ctx.Err() == nil; now = time.Now() {
		if l.pause > 0 {
			time.Sleep(l.pause)
			now = time.Now()
		}
		status, n, err := c.exchange(request, nil)
		if err != nil {
			return err
		}
		if status != 200 {
			return fmt.Errorf("%s answers %d", l.addr, status)
		}
		w.requests++
		w.bytes += n
		w.waits = append(w.waits, time.Since(now))
	}
	return nil
}

// conn is a kept connection of a client that does the least it can: what the
// client costs is missing to the servers, since they share a machine.
type conn struct {
	net.Conn
	br *bufio.Reader
}

const patience = time.Minute // for one answer

func dial(ctx context.Context, addr string) (*conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, br: bufio.NewReaderSize(c, 64<<10)}, nil
}

func (c *conn) close() { c.Conn.Close() }

// exchange sends a request and reads the answer. n is the body's size in
// bytes as it came.
func (c *conn) exchange(request []byte, body io.Reader) (status int, n int64, err error) {
	c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write(request); err != nil {
		return 0, 0, err
	}
	if body != nil {
		if _, err := io.CopyBuffer(struct{ io.Writer }{c.Conn}, body, make([]byte, 256<<10)); err != nil {
			return 0, 0, fmt.Errorf("send the body: %w", err)
		}
		c.SetDeadline(time.Now().Add(patience))
	}
	status, length, err := c.head()
	switch {
	case err != nil:
		return 0, 0, err
	case length < 0:
		n, err := discardChunks(c.br)
		return status, n, err
	}
	for left := length; left > 0; {
		part, err := c.br.Discard(int(min(left, 1<<20)))
		if err != nil {
			return 0, 0, fmt.Errorf("read the body: %w", err)
		}
		left -= int64(part)
	}
	return status, length, nil
}

// head reads the status and the header; length is -1 for a chunked body.
func (c *conn) head() (status int, length int64, err error) {
	line, err := c.br.ReadSlice('\n')
	if err != nil {
		return 0, 0, err
	}
	if len(line) < 12 {
		return 0, 0, fmt.Errorf("no status line: %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, 0, fmt.Errorf("no status line: %q", line)
	}
	for {
		line, err := c.br.ReadSlice('\n')
		if err != nil {
			return 0, 0, err
		}
		if len(line) <= 2 {
			return status, length, nil
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch {
		case strings.EqualFold(string(name), "Content-Length"):
			if length, err = strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64); err != nil {
				return 0, 0, err
			}
		case strings.EqualFold(string(name), "Transfer-Encoding"):
			length = -1
		}
	}
}

// ask sends one request on a connection of its own and gives the status.
func ask(ctx context.Context, addr string, request []byte) (int, error) {
	c, err := dial(ctx, addr)
	if err != nil {
		return 0, err
	}
	defer c.close()
	status, _, err := c.exchange(request, nil)
	return status, err
}
