package throttle_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"comfylatch/internal/account"
	"comfylatch/internal/store"
	"comfylatch/internal/throttle"
)

func openStore(t *testing.T, dir string) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), filepath.Join(dir, store.FileName))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func newLimiter(t *testing.T, db throttle.Store) *throttle.Limiter {
	t.Helper()
	l, err := throttle.New(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// inBubble runs a test in which time passes at once.
func inBubble(t *testing.T, test func(*testing.T, *throttle.Limiter, *store.DB)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		db := openStore(t, dir)
		test(t, newLimiter(t, db), db)
	})
}

// addr gives a different IPv4 address for each n.
func addr(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{203, byte(n >> 16), byte(n >> 8), byte(n)})
}

// fail makes a wrong attempt, and gives how long it would have to wait (0: it was let in).
func fail(t *testing.T, l *throttle.Limiter, name string, from netip.Addr) time.Duration {
	t.Helper()
	a, err := l.Begin(t.Context(), name, from, false)
	var slow *account.ThrottledError
	switch {
	case errors.As(err, &slow):
		return slow.Wait
	case err != nil:
		t.Fatal(err)
	}
	a.Fail()
	return 0
}

// exhaust fails until an attempt is refused, from addresses of its own.
func exhaust(t *testing.T, l *throttle.Limiter, name string, base int) (tries int) {
	t.Helper()
	for ; tries < 1000; tries++ {
		if fail(t, l, name, addr(base+tries)) > 0 {
			return tries
		}
	}
	t.Fatal("nothing is ever refused")
	return
}

func TestTheWaitGrowsAndIsTold(t *testing.T) {
	inBubble(t, func(t *testing.T, l *throttle.Limiter, _ *store.DB) {
		if got := exhaust(t, l, "ada", 0); got != 5 {
			t.Errorf("%d tries were free, want 5", got)
		}
		for n, want := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900} {
			want *= time.Second
			if got := fail(t, l, "ada", addr(1000+n)); got != want {
				t.Fatalf("wait %d = %v, want %v", n, got, want)
			}
			time.Sleep(want - time.Second)
			if got := fail(t, l, "ada", addr(2000+n)); got != time.Second {
				t.Fatalf("rest of wait %d = %v, want 1s", n, got)
			}
			time.Sleep(time.Second)
			if got := fail(t, l, "ada", addr(3000+n)); got != 0 {
				t.Fatalf("after wait %d still %v", n, got)
			}
		}
	})
}

func TestARefusedAttemptIsNotCounted(t *testing.T) {
	inBubble(t, func(t *testing.T, l *throttle.Limiter, _ *store.DB) {
		exhaust(t, l, "ada", 0)
		for n := range 50 {
			if got := fail(t, l, "ada", addr(1000+n)); got != time.Second {
				t.Fatalf("wait = %v, want 1s: hammering must not lengthen it", got)
			}
		}
	})
}

func TestSuccessForgetsTheAccountsFailures(t *testing.T) {
	inBubble(t, func(t *testing.T, l *throttle.Limiter, db *store.DB) {
		from := addr(1)
		for range 4 {
			fail(t, l, "ada", from)
		}
		a, err := l.Begin(t.Context(), "ada", from, false)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Succeed(t.Context()); err != nil {
			t.Fatal(err)
		}
		a.Cancel(t.Context()) // does nothing any more
		if got := exhaust(t, l, "ada", 1000); got != 5 {
			t.Errorf("%d tries were free after a success, want 5", got)
		}
		counts, err := db.Counts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range counts {
			if c.Failed < 1 {
				t.Errorf("a counter of nothing is stored: %+v", c)
			}
		}
	})
}

func TestAnAddressIsLimitedWhateverItTries(t *testing.T) {
	for name, from := range map[string]func(n int) netip.Addr{
		"one address":                      func(int) netip.Addr { return addr(1) },
		"IPv6: one /64":                    func(n int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("2001:db8::%x:1", n)) },
		"IPv6: one /64, with zones":        func(n int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("fe80::%x%%eth%d", n, n)) },
		"IPv4 written as IPv6 and plainly": func(n int) netip.Addr { return []netip.Addr{addr(1), netip.AddrFrom16(addr(1).As16())}[n%2] },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, l *throttle.Limiter, _ *store.DB) {
				tries := 0
				for fail(t, l, fmt.Sprintf("name %d", tries), from(tries)) == 0 {
					tries++
				}
				if tries != 20 {
					t.Errorf("%d tries with as many names, want 20", tries)
				}
				if got := fail(t, l, "ada", addr(99)); got != 0 {
					t.Errorf("somebody else waits %v", got)
				}
			})
		})
	}
}

func TestAStrangerCannotKeepTheOwnerOut(t *testing.T) {
	inBubble(t, func(t *testing.T, l *throttle.Limiter, _ *store.DB) {
		for n := range 100 { // the account is locked for the longest time
			if wait := fail(t, l, "owner", addr(n)); wait > 0 {
				time.Sleep(wait)
			}
			if n > 20 {
				break
			}
		}
		a, err := l.Begin(t.Context(), "owner", netip.MustParseAddr("::1"), true)
		if err != nil {
			t.Fatalf("at the machine itself: %v", err)
		}
		a.Fail()
		// And through a proxy on the machine that hides who is who, a flood of
		// names makes nobody wait longer than half a minute.
		local := netip.MustParseAddr("127.0.0.1")
		for n := range 300 {
			if wait := fail(t, l, fmt.Sprint("name ", n), local); wait > 30*time.Second {
				t.Fatalf("loopback waits %v", wait)
			} else if wait > 0 {
				time.Sleep(wait)
			}
		}
	})
}

func TestCountersSurviveARestart(t *testing.T) {
	inBubble(t, func(t *testing.T, l *throttle.Limiter, db *store.DB) {
		exhaust(t, l, "ada", 0)
		again := newLimiter(t, db)
		if got := fail(t, again, "ada", addr(1000)); got == 0 {
			t.Error("a restart forgets the counter")
		}
		if got := fail(t, again, "bo", addr(1001)); got != 0 {
			t.Errorf("somebody else waits %v", got)
		}
	})
}

func TestOldFailuresAreForgotten(t *testing.T) {
	inBubble(t, func(t *testing.T, l *throttle.Limiter, db *store.DB) {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { l.Run(ctx) })
		exhaust(t, l, "ada", 0)
		time.Sleep(26 * time.Hour)
		if got := exhaust(t, l, "ada", 1000); got != 5 {
			t.Errorf("%d tries were free a day later, want 5", got)
		}
		time.Sleep(26 * time.Hour)
		synctest.Wait()
		if counts, err := db.Counts(t.Context()); err != nil || len(counts) != 0 {
			t.Errorf("%d counters are left, %v", len(counts), err)
		}
		cancel()
		wg.Wait()
	})
}

func TestAttacksOnTheCounters(t *testing.T) {
	t.Run("D2 lockout aliases", func(t *testing.T) {
		inBubble(t, func(t *testing.T, l *throttle.Limiter, _ *store.DB) {
			tries := 0
			for i, name := range []string{"Alice", "ALICE", " alice", "alice ", "aLiCe", "alice", "Alice"} {
				if fail(t, l, name, addr(i)) == 0 {
					tries++
				}
			}
			if tries != 5 {
				t.Errorf("%d tries by other spellings, want 5", tries)
			}
		})
	})
	t.Run("D2 other names do not push a counter out", func(t *testing.T) {
		inBubble(t, func(t *testing.T, l *throttle.Limiter, _ *store.DB) {
			exhaust(t, l, "ada", 0)
			for n := range 2000 {
				fail(t, l, fmt.Sprint("name ", n), addr(5000+n))
			}
			if got := fail(t, l, "ada", addr(1000)); got == 0 {
				t.Error("2,000 other names later the counter is gone")
			}
		})
	})
	t.Run("parallel attempts do not outrun the counter", func(t *testing.T) {
		l := newLimiter(t, openStore(t, t.TempDir()))
		var wg sync.WaitGroup
		var let atomic.Int64
		for n := range 50 {
			wg.Go(func() {
				if _, err := l.Begin(t.Context(), "ada", addr(n), false); err == nil {
					let.Add(1) // and its hash takes a while
				}
			})
		}
		wg.Wait()
		if got := let.Load(); got != 5 {
			t.Errorf("%d of 50 parallel attempts were let in, want 5", got)
		}
	})
	t.Run("G9 fail closed", func(t *testing.T) {
		db := openStore(t, t.TempDir())
		l := newLimiter(t, db)
		db.Close()
		for range 20 { // and what never was an attempt is not counted
			if _, err := l.Begin(t.Context(), "ada", addr(1), false); err == nil || errors.As(err, new(*account.ThrottledError)) {
				t.Fatalf("error = %v, want the store's", err)
			}
		}
		if _, err := throttle.New(t.Context(), db); err == nil {
			t.Error("a limiter without counters was made")
		}
	})
}

func TestAWindowFillsAndEmpties(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := throttle.NewWindow(3)
		for range 3 {
			if err := errors.Join(w.Check(addr(1)), w.Count(addr(1))); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(20 * time.Second)
		var slow *account.ThrottledError
		if err := w.Check(addr(1)); !errors.As(err, &slow) || slow.Seconds() != 40 {
			t.Errorf("after three: %v, want to wait 40 s", err)
		}
		if err := w.Count(addr(1)); err == nil {
			t.Error("a fourth was counted")
		}
		if err := w.Check(addr(2)); err != nil {
			t.Errorf("another address: %v", err)
		}
		time.Sleep(40 * time.Second)
		if err := w.Check(addr(1)); err != nil {
			t.Errorf("a minute later: %v", err)
		}
	})
}

func TestTheGateBoundsWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const running, waiting, all = 2, 64, 300
		g := throttle.NewGate(running, waiting)
		var now, most, done, refused atomic.Int64
		for range all {
			go func() {
				leave, err := g.Enter(t.Context())
				if errors.As(err, new(*account.ThrottledError)) {
					refused.Add(1)
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				if n := now.Add(1); n > most.Load() {
					most.Store(n)
				}
				time.Sleep(time.Second)
				now.Add(-1)
				done.Add(1)
				leave()
			}()
		}
		time.Sleep(time.Hour)
		if most.Load() != running || done.Load() != running+waiting || refused.Load() != all-running-waiting {
			t.Errorf("at most %d at once, %d done, %d refused; want %d, %d, %d",
				most.Load(), done.Load(), refused.Load(), running, running+waiting, all-running-waiting)
		}
		if leave, err := g.Enter(t.Context()); err != nil {
			t.Errorf("after the flood: %v", err)
		} else {
			leave()
		}
	})
}

func TestTheGateLetsGoOfWhoLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := throttle.NewGate(1, 1)
		leave, err := g.Enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := g.Enter(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error = %v, want the context's", err)
			}
			cancel()
		}
		leave()
		if leave, err := g.Enter(t.Context()); err != nil {
			t.Errorf("after it: %v", err)
		} else {
			leave()
		}
	})
}
