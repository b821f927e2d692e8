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
	left int64 // bytes that were announced and have not come; -1 if none were

	// The transport may read on for a moment after the exchange has ended, and
	// the connection's deadlines belong to the next request then.
	mu     sync.Mutex
	closed bool
	end    error // io.EOF when all of it has been read; or why not
}

func (b *movingBody) Read(p []byte) (int, error) {
	if err := b.begin(); err != nil {
		return 0, err
	}
	n, err := b.r.Read(p)
	if b.left > 0 {
		b.left -= int64(n)
		if b.left <= 0 && err == nil {
			err = io.EOF // with the last bytes, so that ComfyUI's answer never comes before
		}
	}
	switch {
	case err == nil:
		return n, nil
	case err == io.EOF:
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = errBodyStalled
	default:
		err = fmt.Errorf("%w: %w", errBodyBroken, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.end = err
	if !b.closed {
		// From here on net/http reads ahead to see whether the client goes
		// away; ComfyUI may take longer to answer than a body may stand still.
		_ = b.ctl.SetReadDeadline(time.Time{})
	}
	return n, err
}

// begin gives the read that follows its deadline. After the end nothing is
// read any more: net/http closes the body when the answer begins, and would
// call that an error. Writers that know no deadlines (in tests) do without.
func (b *movingBody) begin() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.end != nil:
		return b.end
	case b.closed:
		return errBodyClosed
	}
	_ = b.ctl.SetReadDeadline(time.Now().Add(b.idle))
	return nil
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
