// Package storetest is the suite that every engine of the store must pass.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"comfylatch/internal/account"
	"comfylatch/internal/audit"
	"comfylatch/internal/login"
	"comfylatch/internal/people"
	"comfylatch/internal/session"
	"comfylatch/internal/throttle"
)

// Engine is everything that the rooms ask of a store.
type Engine interface {
	session.Store
	login.Store
	throttle.Store
	audit.Store
	people.Store
	Events(ctx context.Context, kind audit.Kind, before int64, limit int) ([]audit.Event, error)
	Close() error
}

// Run runs the suite. open opens the database that belongs to a folder, as
// often as it is asked: two that are open at once are like two processes.
func Run(t *testing.T, open func(t *testing.T, dir string) Engine) {
	one := func(test func(*testing.T, Engine)) func(*testing.T) {
		return func(t *testing.T) {
			db := open(t, t.TempDir())
			t.Cleanup(func() { db.Close() })
			test(t, db)
		}
	}
	t.Run("a session comes back as it was kept", one(sessionRoundTrip))
	t.Run("sessions end by hash, user, epoch, role and age", one(sessionsEnd))
	t.Run("a use is written, and never backwards", one(sessionTouch))
	t.Run("a token comes back as it was kept", one(tokenRoundTrip))
	t.Run("two live tokens of one name cannot be", one(tokenNames))
	t.Run("revoking a token ends what was obtained for it", one(tokenRevocation))
	t.Run("tokens end by user, epoch and time", one(tokensEnd))
	t.Run("settings are written together", one(settings))
	t.Run("of many who set a value once, all get the same", one(settingOnce))
	t.Run("counters are written, removed and forgotten", one(counters))
	t.Run("events are paged from the newest and pruned from the oldest", one(events))
	runPeople(t, one)
	t.Run("many writers at once lose nothing", one(manyWriters))
	t.Run("only another program's writing is a foreign change", func(t *testing.T) { foreignChanges(t, open) })
	t.Run("everything is there after closing and opening", func(t *testing.T) { reopened(t, open) })
	t.Run("a context that has ended stops a method", one(cancelled))
}

var now = time.UnixMilli(1_790_000_000_123)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantNotFound(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, account.ErrNotFound) {
		t.Errorf("error = %v, want %v", err, account.ErrNotFound)
	}
}

func wantHashes(t *testing.T, what string, got []string, err error, want ...string) {
	t.Helper()
	must(t, err)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s ended %v, want %v", what, got, want)
	}
}

func aSession(hash string) account.Session {
	return account.Session{
		Hash: hash, UserID: "u1", Role: account.User, Name: "Zoë 'x'; --", Epoch: "password:1",
		CreatedAt: now, SeenAt: now.Add(time.Second), Address: "2001:db8::1", Agent: "curl/8",
	}
}

func sessionRoundTrip(t *testing.T, db Engine) {
	want := aSession("h1")
	must(t, db.PutSession(t.Context(), want))
	got, err := db.Session(t.Context(), "h1")
	must(t, err)
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if err := db.PutSession(t.Context(), want); err == nil {
		t.Error("the same hash was kept twice")
	}
	_, err = db.Session(t.Context(), "h2")
	wantNotFound(t, err)
}

func sessionsEnd(t *testing.T, db Engine) {
	ctx := t.Context()
	put := func(hash string, change func(*account.Session)) {
		s := aSession(hash)
		change(&s)
		must(t, db.PutSession(ctx, s))
	}
	put("one", func(*account.Session) {})
	put("two", func(*account.Session) {})
	put("other", func(s *account.Session) { s.UserID = "u2"; s.Epoch = "" })
	put("old", func(s *account.Session) { s.UserID = "u3"; s.Epoch = "password:0" })
	put("guest", func(s *account.Session) { s.UserID, s.Role, s.Epoch = "", account.Guest, "" })
	put("unused", func(s *account.Session) { s.UserID = "u4"; s.Epoch = ""; s.SeenAt = now.Add(-time.Hour) })
	put("idle guest", func(s *account.Session) { s.Role, s.Epoch, s.SeenAt = account.Guest, "", now.Add(-time.Minute) })
	put("ancient", func(s *account.Session) { s.UserID = "u4"; s.Epoch = ""; s.CreatedAt = now.Add(-48 * time.Hour) })

	got, err := db.DeleteOldSessions(ctx, now.Add(-24*time.Hour), now.Add(-30*time.Minute), now.Add(-30*time.Second), now)
	wantHashes(t, "age", got, err, "unused", "idle guest", "ancient")
	got, err = db.DeleteEpochSessions(ctx, "password:", "password:1")
	wantHashes(t, "another epoch", got, err, "old")
	got, err = db.DeleteUserSessions(ctx, "u1", "one")
	wantHashes(t, "the user but one", got, err, "two")
	got, err = db.DeletePassingSessions(ctx)
	wantHashes(t, "guests", got, err, "guest")
	got, err = db.DeleteSession(ctx, "one")
	wantHashes(t, "one", got, err, "one")
	got, err = db.DeleteSession(ctx, "one")
	wantHashes(t, "one again", got, err)
	if _, err := db.Session(ctx, "other"); err != nil {
		t.Errorf("the session of somebody else is gone too: %v", err)
	}
}

func sessionTouch(t *testing.T, db Engine) {
	ctx := t.Context()
	must(t, db.PutSession(ctx, aSession("h1")))
	later := now.Add(time.Hour)
	must(t, db.TouchSessions(ctx, map[string]time.Time{"h1": later, "ended": later}))
	must(t, db.TouchSessions(ctx, map[string]time.Time{"h1": now}))
	got, err := db.Session(ctx, "h1")
	must(t, err)
	if !got.SeenAt.Equal(later) {
		t.Errorf("seen at %v, want %v", got.SeenAt, later)
	}
	_, err = db.Session(ctx, "ended")
	wantNotFound(t, err)
}

func aToken(id string) account.Token {
	return account.Token{ID: id, Hash: "hash-" + id, Name: "name-" + id, Kind: "api", UserID: "u1", Role: account.Admin, CreatedAt: now}
}

func tokenRoundTrip(t *testing.T, db Engine) {
	ctx := t.Context()
	somebody(t, db, "u1")
	want := aToken("a")
	want.ExpiresAt, want.UsedAt, want.UsedFrom, want.Epoch = now.Add(time.Hour), now, "192.0.2.1", "key:1"
	must(t, db.PutToken(ctx, want))
	got, err := db.TokenByHash(ctx, "hash-a")
	must(t, err)
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	want.UsedAt, want.UsedFrom = now.Add(time.Minute), "192.0.2.2"
	must(t, db.TouchTokens(ctx, []account.Token{want}))
	all, err := db.Tokens(ctx)
	must(t, err)
	if len(all) != 1 || all[0] != want {
		t.Errorf("got %+v, want %+v", all, want)
	}
	_, err = db.TokenByHash(ctx, "hash-b")
	wantNotFound(t, err)
}

func tokenNames(t *testing.T, db Engine) {
	ctx := t.Context()
	somebody(t, db, "u1")
	first, second := aToken("a"), aToken("b")
	second.Name = first.Name
	must(t, db.PutToken(ctx, first))
	if err := db.PutToken(ctx, second); err == nil {
		t.Error("a second live token of the same name was kept")
	}
	_, err := db.RevokeToken(ctx, "a", now)
	must(t, err)
	must(t, db.PutToken(ctx, second))
	browser := aToken("c")
	browser.Name, browser.Kind = first.Name, "browser"
	must(t, db.PutToken(ctx, browser))
}

func tokenRevocation(t *testing.T, db Engine) {
	ctx := t.Context()
	somebody(t, db, "u1")
	child, grandchild := aToken("child"), aToken("grandchild")
	child.Epoch, grandchild.Epoch = "token:parent", "token:child"
	for _, token := range []account.Token{aToken("parent"), child, grandchild, aToken("stranger")} {
		must(t, db.PutToken(ctx, token))
	}
	got, err := db.RevokeToken(ctx, "parent", now)
	wantHashes(t, "revoking the parent", got, err, "hash-parent", "hash-child", "hash-grandchild")
	got, err = db.RevokeToken(ctx, "parent", now.Add(time.Second))
	wantHashes(t, "revoking it again", got, err)
	token, err := db.TokenByHash(ctx, "hash-parent")
	must(t, err)
	if !token.RevokedAt.Equal(now) {
		t.Errorf("revoked at %v, want %v", token.RevokedAt, now)
	}
	must(t, db.DropTokens(ctx, now.Add(time.Minute)))
	_, err = db.TokenByHash(ctx, "hash-parent")
	wantNotFound(t, err)
	if _, err := db.TokenByHash(ctx, "hash-stranger"); err != nil {
		t.Errorf("a live token was dropped: %v", err)
	}
}

func tokensEnd(t *testing.T, db Engine) {
	ctx := t.Context()
	somebody(t, db, "u1")
	somebody(t, db, "u2")
	of := func(id string, change func(*account.Token)) {
		token := aToken(id)
		change(&token)
		must(t, db.PutToken(ctx, token))
	}
	of("expired", func(t *account.Token) { t.ExpiresAt = now })
	of("lasting", func(t *account.Token) { t.ExpiresAt = now.Add(1) })
	of("old key", func(t *account.Token) { t.Epoch = "key:1" })
	of("key", func(t *account.Token) { t.Epoch = "key:2"; t.UserID = "" })
	got, err := db.RevokeExpiredTokens(ctx, now)
	wantHashes(t, "time", got, err, "hash-expired", "hash-lasting") // stored to the millisecond
	got, err = db.RevokeEpochTokens(ctx, "key:", "key:2", now)
	wantHashes(t, "another key", got, err, "hash-old key")
	of("u2", func(t *account.Token) { t.UserID = "u2" })
	got, err = db.RevokeUserTokens(ctx, "u2", now)
	wantHashes(t, "the user", got, err, "hash-u2")
}

func settings(t *testing.T, db Engine) {
	ctx := t.Context()
	_, err := db.Meta(ctx, "a")
	wantNotFound(t, err)
	must(t, db.PutMeta(ctx, map[string]string{"a": "1", "b": "2"}))
	must(t, db.PutMeta(ctx, map[string]string{"a": ""}))
	for key, want := range map[string]string{"a": "", "b": "2"} {
		got, err := db.Meta(ctx, key)
		must(t, err)
		if got != want {
			t.Errorf("%s = %q, want %q", key, got, want)
		}
	}
}

func settingOnce(t *testing.T, db Engine) {
	var wg sync.WaitGroup
	got := make([]string, 8)
	for i := range got {
		wg.Go(func() {
			value, err := db.MetaOnce(t.Context(), "seed", fmt.Sprint(i))
			if err != nil {
				t.Error(err)
			}
			got[i] = value
		})
	}
	wg.Wait()
	for _, value := range got {
		if value == "" || value != got[0] {
			t.Fatalf("got %q: not all the same", got)
		}
	}
}

func counters(t *testing.T, db Engine) {
	ctx := t.Context()
	must(t, db.PutCounts(ctx, []throttle.Count{{Key: "a", Failed: 3, Last: now}, {Key: "b", Failed: 1, Last: now}, {Key: "c", Failed: 9, Last: now.Add(-time.Hour)}}))
	must(t, db.PutCounts(ctx, []throttle.Count{{Key: "a", Failed: 4, Last: now}, {Key: "b"}, {Key: "never"}}))
	must(t, db.DropCounts(ctx, now.Add(-time.Minute)))
	got, err := db.Counts(ctx)
	must(t, err)
	if len(got) != 1 || got[0].Key != "a" || got[0].Failed != 4 || !got[0].Last.Equal(now) {
		t.Errorf("got %+v, want a: 4", got)
	}
}

func events(t *testing.T, db Engine) {
	ctx := t.Context()
	var all []audit.Event
	for i := range 10 {
		kind := audit.LogIn
		if i%2 == 1 {
			kind = audit.Failure
		}
		all = append(all, audit.Event{Time: now.Add(time.Duration(i) * time.Second), Kind: kind, Principal: "user:u1", Name: "n", Address: "192.0.2.1", Detail: fmt.Sprint(i)})
	}
	must(t, db.AppendEvents(ctx, all))
	details := func(kind audit.Kind, before int64, limit int) (out []string, last int64) {
		t.Helper()
		got, err := db.Events(ctx, kind, before, limit)
		must(t, err)
		for _, e := range got {
			out, last = append(out, e.Detail), e.ID
		}
		return out, last
	}
	first, last := details("", 0, 3)
	second, _ := details("", last, 3)
	failures, _ := details(audit.Failure, 0, 2)
	for name, c := range map[string]struct{ got, want []string }{
		"first page": {first, []string{"9", "8", "7"}}, "second page": {second, []string{"6", "5", "4"}}, "one kind": {failures, []string{"9", "7"}},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("%s = %v, want %v", name, c.got, c.want)
		}
	}
	must(t, db.PruneEvents(ctx, 4))
	left, _ := details("", 0, 100)
	if want := []string{"9", "8", "7", "6"}; !slices.Equal(left, want) {
		t.Errorf("after pruning %v, want %v", left, want)
	}
}

func manyWriters(t *testing.T, db Engine) {
	const writers, each = 8, 10
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				hash := fmt.Sprintf("%d-%d", w, i)
				if err := db.PutSession(t.Context(), aSession(hash)); err != nil {
					t.Errorf("keep: %v", err)
				}
				if _, err := db.Session(t.Context(), hash); err != nil {
					t.Errorf("an acknowledged session is not there: %v", err)
				}
			}
		})
	}
	wg.Wait()
	gone, err := db.DeleteUserSessions(t.Context(), "u1", "")
	if must(t, err); len(gone) != writers*each {
		t.Errorf("%d sessions were kept, want %d", len(gone), writers*each)
	}
}
