// Package throttle makes guessing slow and floods cheap: it counts failed
// attempts per account and per address and says how long to wait, limits what
// one address may ask in a minute, and bounds how many password hashes are
// computed at once.
//
// It does not know passwords or requests. It never refuses anybody for good.
//
// The rule that must hold: an attempt is counted before the password is looked
// at, so that parallel attempts cannot outrun the counter; and no name or
// address can push another's counter out of memory or of the store.
package throttle

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"comfylatch/internal/account"
)

// Count is how often attempts failed under one key, as it is stored.
type Count struct {
	Key    string
	Failed int
	Last   time.Time // of the last failure
}

// Store keeps counters across restarts.
type Store interface {
	Counts(ctx context.Context) ([]Count, error)
	// PutCounts writes counters; one with Failed 0 is removed.
	PutCounts(ctx context.Context, counts []Count) error
	// DropCounts removes counters whose last failure is older.
	DropCounts(ctx context.Context, before time.Time) error
	// MetaOnce keeps value under key unless there is one already, and gives
	// the one that is there.
	MetaOnce(ctx context.Context, key, value string) (string, error)
}

const seedKey = "throttle.seed" // spreads names over counters; secret, so that nobody can aim

// A rule says how failures turn into waiting.
type rule struct {
	free   int           // failures that cost nothing
	cap    time.Duration // the longest wait
	forget time.Duration // a counter this long without failure starts again
}

var (
	accountRule = rule{free: 5, cap: 15 * time.Minute, forget: 24 * time.Hour}
	addressRule = rule{free: 20, cap: 15 * time.Minute, forget: time.Hour}
	// Behind a reverse proxy that is not trusted everybody comes from
	// loopback, and so does the owner: one visitor may not keep all out long.
	localRule = rule{free: 100, cap: 30 * time.Second, forget: time.Hour}
)

// wait is the time that must pass after the last of n failures: nothing for
// the free ones, then 1, 2, 4 … seconds up to the cap.
func (r rule) wait(n int) time.Duration {
	if n < r.free {
		return 0
	}
	return min(r.cap, time.Second<<min(n-r.free, 30))
}

// buckets is how many counters there are of each kind. Names and addresses are
// spread over them by a hash that no visitor can compute, which bounds memory
// without ever evicting a counter: two that share one only wait for each other.
const buckets = 1 << 14

// Limiter counts failed log-ins. Make it with New.
type Limiter struct {
	store Store
	seed  string

	mu      sync.Mutex
	counts  map[string]counter
	writing sync.Mutex // orders writes to the store, so that the last one is the newest
}

type counter struct {
	failed int
	last   time.Time
}

// New makes a limiter with the counters that the store remembers.
func New(ctx context.Context, store Store) (*Limiter, error) {
	fresh := make([]byte, 16)
	rand.Read(fresh)
	seed, err := store.MetaOnce(ctx, seedKey, hex.EncodeToString(fresh))
	if err != nil {
		return nil, fmt.Errorf("read the seed of the log-in counters: %w", err)
	}
	stored, err := store.Counts(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the log-in counters: %w", err)
	}
	l := &Limiter{store: store, seed: seed, counts: make(map[string]counter, len(stored))}
	now := time.Now()
	for _, c := range stored {
		if c.Last.After(now) { // the clock was wrong then: nobody waits a year for it
			c.Last = now
		}
		l.counts[c.Key] = counter{failed: c.Failed, last: c.Last}
	}
	return l, nil
}

// Attempt is a try that has been counted as failed until it is told otherwise.
// Exactly one of Succeed, Fail and Cancel must be called.
type Attempt struct {
	limiter *Limiter
	keys    []keyRule
	done    bool
}

type keyRule struct {
	key string
	rule
	account bool
}

// Begin counts an attempt for an account's folded name from an address, or
// refuses it with an account.ThrottledError when it comes too early. An
// empty name counts for the address alone. Attempts from the gate's own
// machine have an account counter of their own, so that a stranger who guesses
// cannot lock the owner out there.
func (l *Limiter) Begin(ctx context.Context, name string, from netip.Addr, local bool) (*Attempt, error) {
	a := &Attempt{limiter: l, keys: l.keys(name, from, local)}
	now := time.Now()
	l.mu.Lock()
	var wait time.Duration
	for _, k := range a.keys {
		c := l.live(k, now)
		if rest := c.last.Add(k.wait(c.failed)).Sub(now); c.failed > 0 && rest > wait {
			wait = rest
		}
	}
	if wait > 0 {
		l.mu.Unlock()
		return nil, &account.ThrottledError{Wait: wait}
	}
	for _, k := range a.keys {
		l.counts[k.key] = counter{failed: l.live(k, now).failed + 1, last: now}
	}
	l.mu.Unlock()
	if err := l.save(ctx, a.keys); err != nil {
		a.Cancel(context.WithoutCancel(ctx))
		return nil, fmt.Errorf("count an attempt: %w", err)
	}
	return a, nil
}

// live is the counter of k, or a new one when it is old enough to forget.
// The caller holds l.mu.
func (l *Limiter) live(k keyRule, now time.Time) counter {
	c := l.counts[k.key]
	if now.Sub(c.last) > k.forget {
		return counter{}
	}
	return c
}

// save writes the present counters to the store.
func (l *Limiter) save(ctx context.Context, keys []keyRule) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	out := make([]Count, 0, len(keys))
	for _, k := range keys {
		c := l.counts[k.key]
		out = append(out, Count{Key: k.key, Failed: c.failed, Last: c.last})
	}
	l.mu.Unlock()
	return l.store.PutCounts(ctx, out)
}

// Fail leaves the attempt counted and tells how long the next must wait.
func (a *Attempt) Fail() time.Duration {
	a.done = true
	a.limiter.mu.Lock()
	defer a.limiter.mu.Unlock()
	var wait time.Duration
	for _, k := range a.keys {
		wait = max(wait, k.wait(a.limiter.counts[k.key].failed))
	}
	return wait
}

// Succeed forgets the account's failures and takes this attempt off the address.
func (a *Attempt) Succeed(ctx context.Context) error { return a.undo(ctx, true) }

// Cancel takes the attempt back: nothing was tried, because the store or the
// hash gate gave way. It does nothing after Succeed or Fail.
func (a *Attempt) Cancel(ctx context.Context) { _ = a.undo(ctx, false) }

func (a *Attempt) undo(ctx context.Context, succeeded bool) error {
	if a.done {
		return nil
	}
	a.done = true
	l := a.limiter
	l.mu.Lock()
	for _, k := range a.keys {
		c := l.counts[k.key]
		c.failed = max(0, c.failed-1)
		if succeeded && k.account {
			c.failed = 0
		}
		if l.counts[k.key] = c; c.failed == 0 {
			delete(l.counts, k.key)
		}
	}
	l.mu.Unlock()
	if err := l.save(ctx, a.keys); err != nil {
		return fmt.Errorf("reset the log-in counters: %w", err)
	}
	return nil
}

// Run forgets old counters until ctx ends.
func (l *Limiter) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			before := time.Now().Add(-accountRule.forget)
			l.mu.Lock()
			for key, c := range l.counts {
				if c.last.Before(before) {
					delete(l.counts, key)
				}
			}
			l.mu.Unlock()
			_ = l.store.DropCounts(ctx, before) // again in an hour
		}
	}
}

func (l *Limiter) keys(name string, from netip.Addr, local bool) []keyRule {
	var keys []keyRule
	if name != "" {
		kind := "account"
		if local {
			kind = "local-account"
		}
		keys = append(keys, keyRule{key: l.bucket(kind, account.FoldName(name)), rule: accountRule, account: true})
	}
	from = network(from)
	r := addressRule
	if from.IsLoopback() || !from.IsValid() {
		r = localRule
	}
	return append(keys, keyRule{key: l.bucket("address", from.String()), rule: r})
}

// bucket names one of the counters. It must stay the same across restarts, and
// no visitor may be able to aim at another's.
func (l *Limiter) bucket(kind, text string) string {
	sum := sha256.Sum256([]byte(l.seed + "\x00" + kind + "\x00" + text))
	return fmt.Sprintf("%s:%04x", kind, binary.BigEndian.Uint32(sum[:])%buckets)
}

// network is the part of an address that one subscriber holds: IPv4 whole, of
// IPv6 the first 64 bits. An IPv4 address written as IPv6 is IPv4.
func network(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() && !a.IsLoopback() {
		p, _ := a.Prefix(64)
		return p.Addr()
	}
	return a
}
