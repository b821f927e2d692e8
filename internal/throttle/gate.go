package throttle

import (
	"context"
	"sync/atomic"
	"time"

	"comfylatch/internal/account"
)

// Gate bounds how many password hashes are computed at once, because each
// takes 19 MiB and a core: a flood of log-ins takes neither the memory nor the
// processor from those who are in.
type Gate struct {
	running chan struct{}
	waiting atomic.Int64
	room    int64
}

// NewGate lets running go through at once while up to waiting others queue.
func NewGate(running, waiting int) *Gate {
	return &Gate{running: make(chan struct{}, running), room: int64(waiting)}
}

// Enter waits for a place and gives the function that frees it. A full queue
// is an account.ThrottledError; a context that ends is its error.
func (g *Gate) Enter(ctx context.Context) (leave func(), err error) {
	select {
	case g.running <- struct{}{}:
		return g.leave, nil
	default:
	}
	if g.waiting.Add(1) > g.room {
		g.waiting.Add(-1)
		return nil, &account.ThrottledError{Wait: time.Second}
	}
	defer g.waiting.Add(-1)
	select {
	case g.running <- struct{}{}:
		return g.leave, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (g *Gate) leave() { <-g.running }
