package proxy

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

var (
	errBodyStalled = errors.New("the request body stood still")
	errBodyBroken  = errors.New("the request body broke off")
	errBodyClosed  = errors.New("the request body is closed")
)

// movingBody is a request body that may take any time as long as it moves:
// each read has a deadline of its own, instead of one for the whole.
type movingBody struct {
	r    io.Reader
	ctl  *http.ResponseController
	idle time.Duration

	// The transport may read on for a moment after the exchange has ended, and
	// the connection's deadlines belong to the next request then.
	mu     sync.Mutex
	closed bool
	end    error // io.EOF when all of it has been read; or why not
}

func (b *movingBody) Read(p []byte) (int, error) {
	if !b.setDeadline(time.Now().Add(b.idle)) {
		return 0, errBodyClosed
	}
	n, err := b.r.Read(p)
	switch {
	case err == nil:
	case err == io.EOF:
		// From here on net/http reads ahead to see whether the client goes
		// away; ComfyUI may take longer to answer than a body may stand still.
		b.setDeadline(time.Time{})
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = errBodyStalled
	default:
		err = fmt.Errorf("%w: %w", errBodyBroken, err)
	}
	if err != nil {
		b.mu.Lock()
		b.end = err
		b.mu.Unlock()
	}
	return n, err
}

// ended gives io.EOF when all of the body has been read, the error where that
// failed, nil while it goes on. A nil body has ended.
func (b *movingBody) ended() error {
	if b == nil {
		return io.EOF
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.end
}

// setDeadline tells whether the body is still open. Writers that know no
// deadlines (in tests) do without.
func (b *movingBody) setDeadline(t time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		_ = b.ctl.SetReadDeadline(t)
	}
	return !b.closed
}

// Close does not close the client's body: net/http does, after the answer.
func (b *movingBody) Close() error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return nil
}
