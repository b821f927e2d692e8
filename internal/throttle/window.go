package throttle

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"sync"
	"time"

	"comfylatch/internal/account"
)

// Window limits how often something happens from one address in a minute: a
// wrong key, a new guest. It is kept in memory alone, in a fixed number of
// counters, so a flood of addresses costs nothing and evicts nobody.
type Window struct {
	limit int
	seed  [16]byte

	mu    sync.Mutex
	slots []slot
}

type slot struct {
	start int64 // unix milliseconds
	n     int
}

const windowLength = time.Minute

// NewWindow allows limit events a minute from each address.
func NewWindow(limit int) *Window {
	w := &Window{limit: limit, slots: make([]slot, 1<<13)}
	rand.Read(w.seed[:])
	return w
}

// Check tells whether the address has used up its minute, without counting:
// an account.ThrottledError, or nil.
func (w *Window) Check(from netip.Addr) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.full(w.slot(from))
}

// Count counts one event, or says that the minute is used up.
func (w *Window) Count(from netip.Addr) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.slot(from)
	if err := w.full(s); err != nil {
		return err
	}
	s.n++
	return nil
}

func (w *Window) full(s *slot) error {
	if s.n < w.limit {
		return nil
	}
	return &account.ThrottledError{Wait: time.Until(time.UnixMilli(s.start).Add(windowLength))}
}

// slot finds the address's counter, begun anew when its minute is over. The
// caller holds w.mu.
func (w *Window) slot(from netip.Addr) *slot {
	a := network(from).As16()
	sum := sha256.Sum256(append(w.seed[:], a[:]...))
	s := &w.slots[binary.BigEndian.Uint32(sum[:])%uint32(len(w.slots))]
	if now := time.Now().UnixMilli(); now-s.start >= windowLength.Milliseconds() || now < s.start {
		*s = slot{start: now}
	}
	return s
}
