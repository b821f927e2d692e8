package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"comfylatch/internal/account"
	"comfylatch/internal/audit"
)

// memory is a store that can hang and fail.
type memory struct {
	mu     sync.Mutex
	events []audit.Event
	err    error
	hang   chan struct{} // when set, writing waits for it
}

func (m *memory) AppendEvents(ctx context.Context, events []audit.Event) error {
	if m.hang != nil {
		<-m.hang
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	m.events = append(m.events, events...)
	return nil
}

func (m *memory) PruneEvents(context.Context, int64) error { return nil }

func (m *memory) all() []audit.Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.events
}

func newLog(m *memory) (*audit.Log, *bytes.Buffer) {
	var out bytes.Buffer
	return audit.New(m, slog.New(slog.NewTextHandler(&out, nil))), &out
}

func TestAnEventReachesTheStoreAndTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		l, out := newLog(m)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go l.Run(ctx)
		p := account.Principal{Role: account.Owner, UserID: account.OwnerID, Name: "Ada"}
		l.Record(ctx, audit.By(audit.LogIn, p, netip.MustParseAddr("::ffff:192.0.2.1"), ""))
		want := audit.Event{Time: time.Now(), Kind: audit.LogIn, Principal: "user:owner", Name: "Ada", Address: "192.0.2.1"}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := m.all(); len(got) != 1 || !got[0].Time.Equal(want.Time) {
			t.Fatalf("stored %+v, want %+v", got, want)
		}
		for _, part := range []string{"kind=log-in", "principal=user:owner", "address=192.0.2.1"} {
			if !strings.Contains(out.String(), part) {
				t.Errorf("the log says %q, want %s in it", out, part)
			}
		}
	})
}

func TestWhatWaitsIsWrittenAtTheEnd(t *testing.T) {
	m := &memory{}
	l, _ := newLog(m)
	for range 700 {
		l.Record(t.Context(), audit.Event{Kind: audit.Refusal})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if got := len(m.all()); got != 700 {
		t.Errorf("%d events are stored, want 700", got)
	}
}

func TestRecordingNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{hang: make(chan struct{})}
		l, out := newLog(m)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go l.Run(ctx)
		const all = 5000
		for range all { // returns although the store hangs
			l.Record(ctx, audit.Event{Kind: audit.Failure})
		}
		time.Sleep(time.Second)
		close(m.hang)
		time.Sleep(time.Second)
		synctest.Wait()
		kept, lost := 0, ""
		for _, e := range m.all() {
			if e.Kind == audit.EventsLost {
				lost = e.Detail
			} else {
				kept++
			}
		}
		if want := fmt.Sprint(all - kept); kept == 0 || kept == all || lost != want {
			t.Errorf("kept %d, told that %q were lost, want %q", kept, lost, want)
		}
		if !strings.Contains(out.String(), "lost") {
			t.Error("the log says nothing of it")
		}
	})
}

func TestAStoreThatFailsIsToldWhenItWorksAgain(t *testing.T) {
	m := &memory{err: errors.New("the disk is full")}
	l, _ := newLog(m)
	l.Record(t.Context(), audit.Event{Kind: audit.LogIn})
	if err := l.Flush(t.Context()); err == nil {
		t.Error("no error")
	}
	m.err = nil
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := m.all(); len(got) != 1 || got[0].Kind != audit.EventsLost || got[0].Detail != "1" {
		t.Errorf("stored %+v, want that 1 was lost", got)
	}
}

func TestVisitorsText(t *testing.T) {
	m := &memory{}
	l, out := newLog(m)
	for _, c := range []struct{ name, text, want string }{
		{"plain", "Zoë", "Zoë"},
		{"G6 a line of its own", "x\r\nlevel=ERROR", `"x\r\nlevel=ERROR"`},
		{"G6 ANSI", "\x1b[31mred", `"\x1b[31mred"`},
		{"G6 right to left", "a\u202eb", `"a\u202eb"`},
		{"not text", "\xff", `"\xff"`},
		{"quotes", `a"b`, `"a\"b"`},
		{"long", strings.Repeat("é", 100), `"` + strings.Repeat("é", 64) + `"…`},
		{"G6 a megabyte", strings.Repeat("a", 1<<20), `"` + strings.Repeat("a", 64) + `"…`},
		{"empty", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			m.events = nil
			out.Reset()
			l.Record(t.Context(), audit.Event{Kind: audit.Failure, Name: c.text, Detail: c.text})
			if err := l.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := m.events[0]; got.Name != c.want || got.Detail != c.want {
				t.Errorf("stored %q and %q, want %q", got.Name, got.Detail, c.want)
			}
			if n := strings.Count(out.String(), "\n"); n != 1 {
				t.Errorf("%d lines in the log, want 1", n)
			}
		})
	}
}
