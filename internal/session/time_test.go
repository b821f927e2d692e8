package session_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"comfylatch/internal/account"
	"comfylatch/internal/session"
)

func TestASessionEndsInTime(t *testing.T) {
	for _, c := range []struct {
		name  string
		who   account.Principal
		steps []time.Duration // waits, each followed by a use
		live  bool
	}{
		{"owner, unused for six days", owner, []time.Duration{6 * 24 * time.Hour}, true},
		{"owner, unused for seven days", owner, []time.Duration{7 * 24 * time.Hour}, false},
		{"owner, used every six days for thirty", owner, []time.Duration{6 * 24 * time.Hour, 6 * 24 * time.Hour, 6 * 24 * time.Hour, 6 * 24 * time.Hour}, true},
		{"owner, used for more than thirty days", owner, []time.Duration{6 * 24 * time.Hour, 6 * 24 * time.Hour, 6 * 24 * time.Hour, 6 * 24 * time.Hour, 6*24*time.Hour + time.Minute}, false},
		{"guest, unused for eleven hours", guest, []time.Duration{11 * time.Hour, 11 * time.Hour}, true},
		{"guest, unused for twelve hours", guest, []time.Duration{12 * time.Hour}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) { // without Run: a month of it takes long even here
				m := session.New(openStore(t, dir), session.Config{})
				cookie, _ := issue(t, m, c.who)
				var err error
				for _, step := range c.steps {
					time.Sleep(step)
					_, err = m.Find(t.Context(), cookie)
				}
				if live := err == nil; live != c.live {
					t.Errorf("live = %v (%v), want %v", live, err, c.live)
				}
			})
		})
	}
}

func TestAnExpiredSessionLeavesTheStoreAndClosesItsSocket(t *testing.T) {
	cfg := session.Config{Idle: 10 * time.Minute, Absolute: 30 * time.Minute}
	inBubble(t, cfg, func(t *testing.T, m *session.Manager, db *counting) {
		cookie, p := issue(t, m, owner)
		unused, _ := issue(t, m, owner)
		ended, release := m.Watch(p)
		defer release()
		time.Sleep(20 * time.Minute) // the open socket is a use
		wantLive(t, m, cookie)
		wantDead(t, m, unused)
		wantOpen(t, "the socket", ended)
		time.Sleep(15 * time.Minute)
		wantClosed(t, "the socket", ended)
		if _, err := db.DB.Session(t.Context(), p.Ref); !errors.Is(err, account.ErrNotFound) {
			t.Errorf("the store still has it: %v", err)
		}
	})
}

func TestUseIsWrittenAtMostOnceAMinute(t *testing.T) {
	inBubble(t, session.Config{}, func(t *testing.T, m *session.Manager, db *counting) {
		cookie, p := issue(t, m, owner)
		for range 600 {
			time.Sleep(time.Second)
			wantLive(t, m, cookie)
		}
		if n := db.touches.Load(); n < 5 || n > 10 {
			t.Errorf("ten minutes of use were written %d times, want about 10 and not more", n)
		}
		s, err := db.DB.Session(t.Context(), p.Ref)
		if err != nil || time.Since(s.SeenAt) > 2*time.Minute {
			t.Errorf("last seen %v ago, %v", time.Since(s.SeenAt), err)
		}
	})
}

func TestUseIsWrittenAtTheEnd(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		db := openStore(t, dir)
		m := session.New(db, session.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { m.Run(ctx) })
		cookie, p := issue(t, m, owner)
		time.Sleep(10 * time.Second)
		wantLive(t, m, cookie)
		cancel()
		wg.Wait()
		if s, err := db.DB.Session(t.Context(), p.Ref); err != nil || !s.SeenAt.Equal(time.Now()) {
			t.Errorf("seen at %v, %v, want %v", s.SeenAt, err, time.Now())
		}
	})
}

func TestAnotherProcessEndsASession(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := session.New(openStore(t, dir), session.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { m.Run(ctx) })
		cookie, p := issue(t, m, owner)
		other, q := issue(t, m, owner)
		ended, _ := m.Watch(p)
		stays, _ := m.Watch(q)
		tokenSocket, _ := m.Watch(account.Principal{Role: account.Owner, Method: account.ByToken, Ref: "token:1"})
		synctest.Wait()

		if err := session.New(openStore(t, dir), session.Config{}).Revoke(t.Context(), p.Ref); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		wantDead(t, m, cookie)
		wantLive(t, m, other)
		wantClosed(t, "the socket", ended)
		wantOpen(t, "another session's socket", stays)
		wantOpen(t, "a token's socket", tokenSocket)
		cancel()
		wg.Wait()
	})
}

// inBubble runs a test in which time passes at once, with the Manager running.
func inBubble(t *testing.T, cfg session.Config, test func(*testing.T, *session.Manager, *counting)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		db := openStore(t, dir)
		m := session.New(db, cfg)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { m.Run(ctx) })
		test(t, m, db)
		cancel()
		wg.Wait()
	})
}
