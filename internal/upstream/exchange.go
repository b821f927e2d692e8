package upstream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
)

// exchange is one request and its answer on a connection. It is the answer's
// body, too. What of a request's body goes on beside is in sent.
type exchange struct {
	http.Response
	pool *pool
	c    *conn
	ctx  context.Context
	stop func() bool // lets the context go; nil where it never ends
	sent *sending    // nil when all of the request is sent

	room  *[roomSize]byte // pooled; nil before and after
	buf   []byte          // room, or a larger one for a large head
	at, n int             // buf[at:n] is not used yet

	framing framing
	left    int64 // of the body or, in chunks, of the one under way
	begun   bool  // the first chunk has
	err     error // how the body ended; io.EOF: it is whole
}

const (
	roomSize = 32 << 10
	maxEarly = 5       // answers before the answer, such as 103
	maxLine  = 4 << 10 // of a chunk's size and of a trailer, in bytes
	maxTrail = 100     // trailers
)

var rooms = sync.Pool{New: func() any { return new([roomSize]byte) }}

// errStale means that a connection from the pool ended before it gave a byte
// of the answer.
var errStale = errors.New("ComfyUI ended the connection without an answer")

// answer waits for the head of the answer to a request with this method.
func (x *exchange) answer(method string) error {
	x.room = rooms.Get().(*[roomSize]byte)
	x.buf = x.room[:]
	for range maxEarly + 1 {
		head, err := x.readHead()
		if err == nil {
			x.framing, err = parseHead(head, method, &x.Response)
		}
		if err != nil {
			return x.finish(err)
		}
		if x.StatusCode >= 200 || x.StatusCode == http.StatusSwitchingProtocols {
			break
		}
	}
	if x.StatusCode < 200 {
		return x.finish(badAnswer("the final answer does not come"))
	}
	x.Body = x
	switch x.framing {
	case byLength:
		x.left = x.ContentLength
	case noBody:
		x.finish(io.EOF)
	}
	return nil
}

// readHead reads up to an empty line.
func (x *exchange) readHead() (string, error) {
	for searched := x.at; ; {
		if i := bytes.Index(x.buf[searched:x.n], []byte("\r\n\r\n")); i >= 0 {
			head := string(x.buf[x.at : searched+i+2])
			x.at = searched + i + 4
			return head, nil
		}
		if got := x.buf[x.at:x.n]; len(got) >= 5 && string(got[:5]) != "HTTP/" {
			return "", badAnswer("it is not HTTP")
		}
		searched = max(x.at, x.n-3)
		if x.n == len(x.buf) {
			if x.n >= maxHeaderBytes {
				return "", badAnswer("its header is too long")
			}
			x.buf = append(x.buf, make([]byte, len(x.buf))...)
		}
		switch err := x.fill(); {
		case err == nil:
		case x.n == 0 && x.c.reused && (err == io.EOF || errors.Is(err, syscall.ECONNRESET)):
			return "", errStale
		case err == io.EOF:
			return "", io.ErrUnexpectedEOF
		default:
			return "", err
		}
	}
}

// fill reads more into the buffer, which has room.
func (x *exchange) fill() error {
	n, err := x.c.Read(x.buf[x.n:])
	x.n += n
	if n > 0 {
		return nil
	}
	return err
}

// more gives what has come of the body, at least a byte, after waiting for it
// where it must. It is valid until the next call; took says what was used.
func (x *exchange) more() ([]byte, error) {
	if x.err == nil && x.framing == byChunks && x.left == 0 {
		if err := x.nextChunk(); err != nil {
			x.finish(err)
		}
	}
	if x.err == nil && x.at == x.n {
		x.at, x.n = 0, 0
		if err := x.fill(); err == io.EOF && x.framing != byClose {
			x.finish(io.ErrUnexpectedEOF)
		} else if err != nil {
			x.finish(err)
		}
	}
	if x.err != nil {
		return nil, x.err
	}
	b := x.buf[x.at:x.n]
	if x.framing != byClose && int64(len(b)) > x.left {
		b = b[:x.left]
	}
	return b, nil
}

func (x *exchange) took(n int) {
	x.at += n
	if x.framing == byClose {
		return
	}
	if x.left -= int64(n); x.left == 0 && x.framing == byLength {
		x.finish(io.EOF)
	}
}

// Read gives the body. io.EOF says that all of it has come.
func (x *exchange) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	b, err := x.more()
	if err != nil {
		return 0, err
	}
	n := copy(p, b)
	x.took(n)
	return n, nil
}

// piece is how much is given to the kernel at once, so that whoever takes it
// can be seen to move.
const piece = 256 << 10

// WriteTo gives the whole body to w. The middle of a large one with a known
// length goes from connection to connection, if w is one, inside the kernel.
func (x *exchange) WriteTo(w io.Writer) (sum int64, err error) {
	from, can := w.(io.ReaderFrom)
	tcp, plain := x.c.Conn.(*net.TCPConn)
	for {
		var n int64
		if can && plain && x.err == nil && x.framing == byLength && x.at == x.n && x.left >= piece {
			n, err = from.ReadFrom(&io.LimitedReader{R: tcp, N: piece})
			x.left -= n
			if err == nil && n < piece {
				err = io.ErrUnexpectedEOF
			}
			if err == nil && x.left == 0 {
				x.finish(io.EOF)
			}
		} else {
			var b []byte
			if b, err = x.more(); err == io.EOF {
				return sum, nil
			} else if err != nil {
				return sum, err
			}
			var wrote int
			wrote, err = w.Write(b)
			n = int64(wrote)
			x.took(len(b))
		}
		if sum += n; err != nil {
			return sum, x.finish(err)
		}
	}
}

// Close ends the exchange. A connection on which something is still to come
// ends with it.
func (x *exchange) Close() error {
	x.finish(net.ErrClosed)
	return nil
}

// finish ends the exchange, once: with io.EOF when the answer is whole. It
// gives the error that counts.
func (x *exchange) finish(err error) error {
	if x.err != nil {
		return x.err
	}
	free := x.stop == nil || x.stop()
	whole := err == io.EOF
	if !whole {
		x.c.Close()
		if x.ctx.Err() != nil {
			err = x.ctx.Err()
			x.sent.wait()
		}
	}
	sent, bodyErr := x.sent.end()
	switch {
	case whole && free && sent && !x.Response.Close && x.at == x.n:
		x.pool.put(x.c)
	case whole:
		x.c.Close()
	case bodyErr != nil:
		err = bodyErr
	}
	if x.room != nil {
		rooms.Put(x.room)
		x.room, x.buf, x.at, x.n = nil, nil, 0, 0
	}
	x.err = err
	return err
}
