package login_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"comfylatch/internal/account"
	"comfylatch/internal/audit"
	"comfylatch/internal/login"
	"comfylatch/internal/session"
	"comfylatch/internal/store"
	"comfylatch/internal/throttle"
)

func TestBadInputIsRefusedAndCostsNothing(t *testing.T) {
	h, _ := setUp(t)
	before := login.Hashed(h.Service)
	for _, c := range []struct{ what, name, password, field string }{
		{"an empty password", "Ada", "", "password"},
		{"a password of 1,001 bytes", "Ada", strings.Repeat("x", 1001), "password"},
		{"T36 a password of 5,000 bytes", "Ada", strings.Repeat("x", 5000), "password"},
	} {
		_, _, err := h.LogIn(t.Context(), c.name, c.password, there)
		wantInputError(t, c.what, err, c.field)
	}
	if got := login.Hashed(h.Service) - before; got != 0 {
		t.Errorf("%d hashes were computed", got)
	}
	for _, name := range []string{strings.Repeat("x", 1<<20), "\xff", "a\x00b", "<img>"} {
		_, _, err := h.LogIn(t.Context(), name, password, login.Client{Address: netip.MustParseAddr("198.51.100.9")})
		wantErr(t, "an odd name", err, account.ErrBadCredentials)
	}

	fresh := enter(t, t.TempDir())
	for _, c := range []struct{ what, name, password, field string }{
		{"no name", "", password, "username"},
		{"a name with a line break", "a\nb", password, "username"},
		{"a name that is not text", "\xff", password, "username"},
		{"no password", "Ada", "", "password"},
		{"a password that is not text", "Ada", "\xff\xfe", "password"},
		{"T36 a password of 5,000 bytes", "Ada", strings.Repeat("x", 5000), "password"},
	} {
		_, _, err := fresh.SetUp(t.Context(), c.name, c.password, "", here)
		wantInputError(t, c.what, err, c.field)
	}
	if _, err := os.Stat(fresh.path()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("PASSWORD was written: %v", err)
	}
}

var fuzzed struct {
	once sync.Once
	h    *house
}

// fuzzHouse is one house for all inputs of a fuzz target: it is never changed.
func fuzzHouse(t *testing.T) *house {
	t.Helper()
	fuzzed.once.Do(func() {
		dir, err := os.MkdirTemp("", "fuzz")
		if err != nil {
			t.Fatal(err)
		}
		db, err := store.Open(context.Background(), filepath.Join(dir, store.FileName))
		if err != nil {
			t.Fatal(err)
		}
		limiter, err := throttle.New(context.Background(), db)
		if err != nil {
			t.Fatal(err)
		}
		log := slog.New(slog.DiscardHandler)
		h := &house{dir: dir, db: db, sessions: session.New(db, session.Config{}), audit: audit.New(db, log)}
		h.Service, err = login.New(context.Background(), login.Options{
			StateDir: dir, APIKey: account.RandomSecret(""), Store: db, Sessions: h.sessions, Throttle: limiter, Audit: h.audit, Log: log,
		})
		if err != nil {
			t.Fatal(err)
		}
		fuzzed.h = h
	})
	return fuzzed.h
}

func TestCheckPasswordAsksAgain(t *testing.T) {
	h, cookie := setUp(t)
	p, err := h.Find(t.Context(), cookie)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.CheckPassword(t.Context(), p, password, there); err != nil {
		t.Errorf("the right one: %v", err)
	}
	wantErr(t, "a wrong one", h.CheckPassword(t.Context(), p, "x", there), account.ErrBadCredentials)
	wantErr(t, "a guest's", h.CheckPassword(t.Context(), account.Principal{Role: account.Guest}, password, there), account.ErrBadCredentials)
}
