// Package audit keeps the append-only list of security events: who logged in,
// who failed to, what was refused, set up, imported or revoked.
//
// It does not decide anything, and it is not the request log. Whatever a
// visitor typed is cut and quoted before it is kept, so that no event can
// forge another line or colour a terminal.
//
// The rule that must hold: recording never makes a request wait. Events go
// into a bounded queue; when the store cannot follow, the newest are dropped,
// counted, and the number is logged and recorded.
package audit

import (
	"context"
	"log/slog"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"comfylatch/internal/account"
)

// Kind names what happened. The values are stored: never change one.
type Kind string

const (
	LogIn        Kind = "log-in"
	Failure      Kind = "failure"      // a wrong password, key, token or code
	LockOut      Kind = "lock-out"     // an attempt that came too early
	Refusal      Kind = "refusal"      // a known visitor may not do this
	Revocation   Kind = "revocation"   // sessions or tokens were ended
	SetUp        Kind = "set-up"       // a first password was chosen
	Reset        Kind = "reset"        // PASSWORD was deleted or edited by hand
	Import       Kind = "import"       // a ComfyUI-Login set-up was taken over
	LogOut       Kind = "log-out"      //
	GuestEntry   Kind = "guest"        // a guest came in
	GuestMode    Kind = "guest-mode"   // guest mode was switched
	TokenMade    Kind = "token-made"   //
	LegacyToken  Kind = "legacy-token" // ComfyUI-Login's own token was used
	Account      Kind = "account"      // an account was made, changed or removed
	Password     Kind = "password"     // a password was changed or chosen anew
	LinkMade     Kind = "link-made"    // an invitation, reset, guest or phone link
	LinkUsed     Kind = "link-used"    //
	Setting      Kind = "setting"      // a setting was changed while running
	EventsLost   Kind = "events-lost"  // the queue was full
	maxText           = 64             // characters kept of a visitor's text
	queueLength       = 1024           // events that may wait for the store
	batchLength       = 256            // events written in one transaction
	Kept              = 1_000_000      // events kept in the store; the oldest go
	flushEvery        = 500 * time.Millisecond
	pruneEvery        = time.Hour
	flushAtClose      = 3 * time.Second
	lossesLogged      = time.Minute // at most one line in this time
)

// Event is one thing that happened.
type Event struct {
	ID        int64     // given by the store
	Time      time.Time // zero: now
	Kind      Kind
	Principal string // account.Principal.ID, or ""
	Name      string // what the principal is called or tried to be called; quoted by Record
	Address   string
	Detail    string // quoted by Record
}

// Filter says which events to show: up to Limit, the newest first, with a
// smaller ID than Before (0: from the newest). Empty fields filter nothing.
type Filter struct {
	Kind      Kind
	Principal string // account.Principal.ID
	Before    int64
	Limit     int
}

// Kinds are all kinds of events, for a page to choose from.
var Kinds = []Kind{LogIn, LogOut, Failure, LockOut, Refusal, Revocation, Account, Password, LinkMade, LinkUsed, TokenMade, SetUp, Reset, Import,
	GuestEntry, GuestMode, Setting, LegacyToken, EventsLost}

// By makes an event about a principal.
func By(kind Kind, p account.Principal, from netip.Addr, detail string) Event {
	return Event{Kind: kind, Principal: p.ID(), Name: p.Name, Address: Address(from), Detail: detail}
}

// Address writes an address for an event: "" when there is none.
func Address(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.Unmap().String()
}

// Quote cuts a visitor's text to 64 characters and quotes what cannot be
// shown, so that it is safe in a log, a terminal and a table.
func Quote(s string) string {
	if s == "" {
		return ""
	}
	n := 0
	for i := range s {
		if n == maxText {
			return strconv.Quote(s[:i]) + "…"
		}
		n++
	}
	return strconv.Quote(s)
}

// Store keeps events.
type Store interface {
	AppendEvents(ctx context.Context, events []Event) error
	PruneEvents(ctx context.Context, keep int64) error
}

// Log takes events. Its Run must be running for them to reach the store.
type Log struct {
	store Store
	log   *slog.Logger

	queue   chan Event
	lost    atomic.Int64 // since the last flush
	writing sync.Mutex   // one flush at a time
}

// New makes a log that keeps its events in store and shows them in log.
func New(store Store, log *slog.Logger) *Log {
	return &Log{store: store, log: log, queue: make(chan Event, queueLength)}
}

// Record takes an event and returns at once. Name and Detail may be a
// visitor's text: they are cut and quoted here. Never pass a secret.
func (l *Log) Record(ctx context.Context, e Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	e.Name, e.Detail = safe(e.Name), safe(e.Detail)
	l.log.LogAttrs(ctx, level(e.Kind), "security event", slog.String("kind", string(e.Kind)),
		slog.String("principal", e.Principal), slog.String("name", e.Name),
		slog.String("address", e.Address), slog.String("detail", e.Detail))
	select {
	case l.queue <- e:
	default:
		l.lost.Add(1)
	}
}

// Run writes events to the store until ctx ends, and then what is left.
func (l *Log) Run(ctx context.Context) error {
	flush, prune := time.NewTicker(flushEvery), time.NewTicker(pruneEvery)
	defer flush.Stop()
	defer prune.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushAtClose)
			defer cancel()
			return l.Flush(last)
		case <-flush.C:
			if err := l.Flush(ctx); err != nil && ctx.Err() == nil {
				l.log.Error("security events could not be stored", "error", err)
			}
		case <-prune.C:
			if err := l.store.PruneEvents(ctx, Kept); err != nil && ctx.Err() == nil {
				l.log.Error("old security events could not be removed", "error", err)
			}
		}
	}
}

// Flush writes everything that waits. A batch that cannot be stored is counted
// as lost: it was shown in the log when it happened.
func (l *Log) Flush(ctx context.Context) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	for {
		batch := l.take()
		if n := l.lost.Swap(0); n > 0 {
			l.log.Warn("security events were lost: too many at once", "lost", n)
			batch = append(batch, Event{Time: time.Now(), Kind: EventsLost, Detail: strconv.FormatInt(n, 10)})
		}
		if len(batch) == 0 {
			return nil
		}
		if err := l.store.AppendEvents(ctx, batch); err != nil {
			l.lost.Add(int64(len(batch)))
			return err
		}
	}
}

// take empties up to one batch of the queue.
func (l *Log) take() []Event {
	var batch []Event
	for len(batch) < batchLength {
		select {
		case e := <-l.queue:
			batch = append(batch, e)
		default:
			return batch
		}
	}
	return batch
}

func level(k Kind) slog.Level {
	switch k {
	case LockOut, Reset, LegacyToken, EventsLost:
		return slog.LevelWarn
	default:
		return slog.LevelInfo
	}
}

// safe quotes a text only where it needs it: plain short text stays readable.
func safe(s string) string {
	if utf8.RuneCountInString(s) <= maxText && strconv.Quote(s) == `"`+s+`"` {
		return s
	}
	return Quote(s)
}
