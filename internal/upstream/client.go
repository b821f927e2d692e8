package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// direct sends a request over a plain connection of the pool. Where that turns
// out to be stale the request goes out again on a new one: any request while
// nothing of it was sent, and one that only asks, without a body.
func (s *Server) direct(r *http.Request) (*http.Response, error) {
	room := rooms.Get().(*[roomSize]byte)
	defer rooms.Put(room)
	body := newSending(r)
	head, err := appendHead(room[:0], r, s.host, body)
	if err == nil {
		head, err = body.first(head)
	}
	if err != nil {
		body.close()
		return nil, err
	}
	asks := body == nil && (r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions)
	for c := s.pool.get(); ; c = nil {
		if c == nil {
			plain, err := s.dialPlain(r.Context())
			if err != nil {
				body.close()
				return nil, err
			}
			c = newConn(plain)
		}
		n, err := c.Write(head)
		if err != nil && n == 0 {
			c.Close()
			if c.reused {
				continue
			}
			body.close()
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		x := s.exchange(r.Context(), c, body)
		if err == nil {
			err = x.answer(r.Method)
		} else {
			x.finish(err)
		}
		switch {
		case err == nil:
			return &x.Response, nil
		case errors.Is(err, errStale) && asks:
		default:
			return nil, fmt.Errorf("ask ComfyUI: %w", err)
		}
	}
}

// exchange begins to wait for the answer on c, while what is left of the body
// is sent.
func (s *Server) exchange(ctx context.Context, c *conn, body *sending) *exchange {
	x := &exchange{pool: &s.pool, c: c, ctx: ctx}
	if ctx.Done() != nil {
		x.stop = context.AfterFunc(ctx, c.cut)
	}
	if body != nil && body.left != 0 {
		x.sent = body
		go body.run(c) // it ends with the connection or the body
	} else {
		body.close()
	}
	return x
}

// appendHead writes a request's head. Everything in it was made by us or
// checked by net/http; what could end a line is refused all the same.
func appendHead(b []byte, r *http.Request, host string, body *sending) ([]byte, error) {
	target := r.URL.RequestURI()
	for i := range len(target) {
		if target[i] <= ' ' || target[i] >= 0x7f {
			return nil, fmt.Errorf("ask ComfyUI: the target %q cannot be sent", target)
		}
	}
	if !isToken(r.Method) {
		return nil, fmt.Errorf("ask ComfyUI: the method %q cannot be sent", r.Method)
	}
	b = append(append(append(append(b, r.Method...), ' '), target...), " HTTP/1.1\r\nHost: "...)
	b = append(append(b, host...), "\r\n"...)
	for name, values := range r.Header {
		if byUs(name) || name == "User-Agent" && len(values) == 1 && values[0] == "" {
			continue
		}
		for _, v := range values {
			if !isToken(name) || !isText(v) {
				return nil, fmt.Errorf("ask ComfyUI: the header %q cannot be sent", name)
			}
			b = append(append(append(append(b, name...), ": "...), v...), "\r\n"...)
		}
	}
	switch {
	case body == nil && (r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch):
		b = append(b, "Content-Length: 0\r\n"...)
	case body == nil:
	case body.left < 0:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	default:
		b = append(strconv.AppendInt(append(b, "Content-Length: "...), body.left, 10), "\r\n"...)
	}
	return append(b, "\r\n"...), nil
}

// byUs are the headers that say where a message goes and where it ends.
func byUs(name string) bool {
	switch name {
	case "Host", "Content-Length", "Transfer-Encoding", "Trailer", "Connection", "Upgrade":
		return true
	}
	return false
}

// sending is a request's body on its way. A nil one is no body.
type sending struct {
	body io.ReadCloser
	left int64         // bytes; negative where nobody knows: in chunks
	over chan struct{} // closed when run has ended; guards what follows
	read error         // why not all of the body could be read
	sent bool          // all of it was written
}

func newSending(r *http.Request) *sending {
	switch {
	case r.Body == nil || r.Body == http.NoBody:
		return nil
	case r.ContentLength == 0: // so net/http's clients say that they do not know
		return &sending{body: r.Body, left: -1, over: make(chan struct{})}
	}
	return &sending{body: r.Body, left: r.ContentLength, over: make(chan struct{})}
}

// first puts what comes first of a small body behind the head: mostly it is
// all, and one write sends both.
func (s *sending) first(head []byte) ([]byte, error) {
	free := cap(head) - len(head)
	if s == nil || s.left <= 0 || s.left > int64(free) {
		return head, nil
	}
	n, err := s.body.Read(head[len(head) : len(head)+int(s.left)])
	s.left -= int64(n)
	if err != nil && s.left > 0 {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("read the request's body: %w", err)
	}
	return head[:len(head)+n], nil
}

// run sends what is left. When the body breaks off the connection ends, so
// that it does not look whole; when only sending fails, ComfyUI's answer may
// still say why.
func (s *sending) run(c *conn) {
	room := rooms.Get().(*[roomSize]byte)
	defer rooms.Put(room)
	const before, after = len("7ff0\r\n"), len("\r\n")
	var err error
	for chunked := s.left < 0; err == nil && s.left != 0; {
		part := room[before : roomSize-after]
		if !chunked && int64(len(part)) > s.left {
			part = part[:s.left]
		}
		n, end := s.body.Read(part)
		part = part[:n]
		if n > 0 && chunked {
			size := strconv.AppendInt(room[:0], int64(n)|1<<16, 16) // five digits, the first of which
			copy(room[:], size[1:])                                 // is not a part of the size
			copy(room[before-2:], "\r\n")
			part = append(room[:before+n], "\r\n"...)
		}
		if n > 0 {
			_, err = c.Write(part)
		}
		switch {
		case !chunked:
			s.left -= int64(n)
			if end == io.EOF {
				end = io.ErrUnexpectedEOF
			}
		case end == io.EOF:
			s.left = 0
			if err == nil {
				_, err = io.WriteString(c, "0\r\n\r\n")
			}
		}
		if end != nil && s.left != 0 {
			s.read = fmt.Errorf("read the request's body: %w", end)
			break
		}
	}
	s.sent = err == nil && s.read == nil
	s.body.Close()
	close(s.over)
	if s.read != nil {
		c.Close()
	}
}

func (s *sending) close() {
	if s != nil {
		s.body.Close()
	}
}

// wait gives run a moment to say that the body is why the context has ended:
// net/http ends it when reading the body fails, and before that read returns.
func (s *sending) wait() {
	if s != nil {
		select {
		case <-s.over:
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// end tells whether run has sent all of the body and, where not, whether the
// body is why. Whatever is left of it is not read any more.
func (s *sending) end() (sent bool, why error) {
	if s == nil {
		return true, nil
	}
	select {
	case <-s.over:
		return s.sent, s.read
	default:
		s.body.Close()
		return false, nil
	}
}
