package storetest

import (
	"context"
	"errors"
	"testing"
)

func foreignChanges(t *testing.T, open func(*testing.T, string) Engine) {
	ctx, dir := t.Context(), t.TempDir()
	ours := open(t, dir)
	defer ours.Close()
	look := func() int64 {
		n, err := ours.ForeignChanges(ctx)
		must(t, err)
		return n
	}
	before := look()
	must(t, ours.PutSession(ctx, aSession("ours")))
	if look() != before {
		t.Error("our own writing counts as another's")
	}
	theirs := open(t, dir)
	defer theirs.Close()
	somebody(t, theirs, "u1")
	must(t, theirs.PutToken(ctx, aToken("theirs")))
	if look() == before {
		t.Error("another's writing does not show")
	}
	if _, err := ours.TokenByHash(ctx, "hash-theirs"); err != nil {
		t.Errorf("another's token cannot be found: %v", err)
	}
}

func reopened(t *testing.T, open func(*testing.T, string) Engine) {
	ctx, dir := t.Context(), t.TempDir()
	db := open(t, dir)
	must(t, db.PutSession(ctx, aSession("h1")))
	must(t, db.PutMeta(ctx, map[string]string{"a": "1"}))
	must(t, db.Close())
	db = open(t, dir)
	defer db.Close()
	if _, err := db.Session(ctx, "h1"); err != nil {
		t.Error(err)
	}
	if got, err := db.Meta(ctx, "a"); got != "1" {
		t.Errorf("setting = %q, %v, want 1", got, err)
	}
}

func cancelled(t *testing.T, db Engine) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := db.PutSession(ctx, aSession("h1")); !errors.Is(err, context.Canceled) {
		t.Errorf("write = %v, want %v", err, context.Canceled)
	}
	if _, err := db.Session(ctx, "h1"); !errors.Is(err, context.Canceled) {
		t.Errorf("read = %v, want %v", err, context.Canceled)
	}
}
