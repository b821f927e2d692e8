package login_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"comfylatch/internal/account"
	"comfylatch/internal/login"
)

func TestGuests(t *testing.T) {
	h, owner := setUp(t)
	h.run(t)
	_, _, err := h.Guest(t.Context(), there)
	wantErr(t, "without guest mode", err, account.ErrGuestsOff)

	file := filepath.Join(h.dir, "GUEST_MODE")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	soon(t, "guest mode on", func() bool { return h.Status().Guests })
	cookie, p, err := h.Guest(t.Context(), there)
	if err != nil || p.Role != account.Guest || p.UserID != "" {
		t.Fatalf("%+v, %v", p, err)
	}
	_, q, err := h.Guest(t.Context(), there)
	if err != nil || p.ID() == q.ID() {
		t.Errorf("two guests are one: %q and %q, %v", p.ID(), q.ID(), err)
	}
	ended, release := h.sessions.Watch(p)
	defer release()
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	<-ended
	h.wantOut(t, "the guest", cookie.Reveal())
	h.wantIn(t, "the owner", owner)
	_, _, err = h.Guest(t.Context(), there)
	wantErr(t, "after guest mode", err, account.ErrGuestsOff)
}

func TestGuestsOfBeforeARestart(t *testing.T) {
	on := func(o *login.Options) { o.Guest = true }
	h, _ := setUp(t, on)
	cookie, _, err := h.Guest(t.Context(), there)
	if err != nil {
		t.Fatal(err)
	}
	enter(t, h.dir, on).wantIn(t, "guest mode still on", cookie.Reveal())
	enter(t, h.dir).wantOut(t, "guest mode off", cookie.Reveal())
	enter(t, h.dir, on).wantOut(t, "guest mode on again", cookie.Reveal())
}

func TestAFloodOfGuestsIsSlowedDown(t *testing.T) {
	h, _ := setUp(t, func(o *login.Options) { o.Guest = true })
	for n := 0; ; n++ {
		_, _, err := h.Guest(t.Context(), there)
		if errors.As(err, new(*account.ThrottledError)) && n > 10 {
			return
		}
		if err != nil || n > 1000 {
			t.Fatalf("guest %d: %v", n, err)
		}
	}
}
