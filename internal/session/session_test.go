package session_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"comfylatch/internal/account"
	"comfylatch/internal/session"
	"comfylatch/internal/store"
)

// counting is a real store that counts what it is asked, and can be made to fail.
type counting struct {
	*store.DB
	reads, touches atomic.Int64
	down           atomic.Bool
}

var errDown = errors.New("the disk is gone")

func (c *counting) Session(ctx context.Context, hash string) (account.Session, error) {
	c.reads.Add(1)
	if c.down.Load() {
		return account.Session{}, errDown
	}
	return c.DB.Session(ctx, hash)
}

func (c *counting) PutSession(ctx context.Context, s account.Session) error {
	if c.down.Load() {
		return errDown
	}
	return c.DB.PutSession(ctx, s)
}

func (c *counting) TouchSessions(ctx context.Context, seen map[string]time.Time) error {
	c.touches.Add(int64(len(seen)))
	return c.DB.TouchSessions(ctx, seen)
}

func (c *counting) DeleteEpochSessions(ctx context.Context, prefix, live string) ([]string, error) {
	if c.down.Load() {
		return nil, errDown
	}
	return c.DB.DeleteEpochSessions(ctx, prefix, live)
}

func (c *counting) DeletePassingSessions(ctx context.Context) ([]string, error) {
	if c.down.Load() {
		return nil, errDown
	}
	return c.DB.DeletePassingSessions(ctx)
}

func openStore(t *testing.T, dir string) *counting {
	t.Helper()
	db, err := store.Open(t.Context(), filepath.Join(dir, store.FileName))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return &counting{DB: db}
}

func newManager(t *testing.T) (*session.Manager, *counting) {
	db := openStore(t, t.TempDir())
	return session.New(db, session.Config{}), db
}

var (
	owner = account.Principal{Role: account.Owner, UserID: account.OwnerID, Name: "Ada"}
	guest = account.Principal{Role: account.Guest, Name: "guest"}
)

const epoch = session.PasswordEpoch + "1"

func issue(t *testing.T, m *session.Manager, who account.Principal) (string, account.Principal) {
	t.Helper()
	e := ""
	if who.Role == account.Owner {
		e = epoch
	}
	cookie, p, err := m.Issue(t.Context(), who, session.Client{Address: "192.0.2.1", Agent: "test"}, session.Terms{Epoch: e})
	if err != nil {
		t.Fatal(err)
	}
	return cookie.Reveal(), p
}

func wantLive(t *testing.T, m *session.Manager, cookie string) {
	t.Helper()
	if _, err := m.Find(t.Context(), cookie); err != nil {
		t.Errorf("the session is dead: %v", err)
	}
}

func wantDead(t *testing.T, m *session.Manager, cookie string) {
	t.Helper()
	p, err := m.Find(t.Context(), cookie)
	if !errors.Is(err, account.ErrNotFound) && !errors.Is(err, account.ErrExpired) {
		t.Errorf("the session gives %v, %v; want it dead", p, err)
	}
}

func wantClosed(t *testing.T, what string, ended <-chan struct{}) {
	t.Helper()
	select {
	case <-ended:
	default:
		t.Errorf("%s stays open", what)
	}
}

func wantOpen(t *testing.T, what string, ended <-chan struct{}) {
	t.Helper()
	select {
	case <-ended:
		t.Errorf("%s was closed", what)
	default:
	}
}

func TestASessionIsFoundAsItWasIssued(t *testing.T) {
	m, _ := newManager(t)
	cookie, issued := issue(t, m, owner)
	want := owner
	want.Method, want.Ref = account.ByCookie, account.NewSecret(cookie).Hash()
	found, err := m.Find(t.Context(), cookie)
	if err != nil || found != want || issued != want {
		t.Errorf("issued %+v, found %+v, %v; want %+v", issued, found, err, want)
	}
	if strings.Contains(want.Ref, cookie) {
		t.Error("the Ref holds the cookie's value")
	}
}

func TestASessionSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	db := openStore(t, dir)
	cookie, _ := issue(t, session.New(db, session.Config{}), owner)
	// No Close, no flush: as after kill -9.
	again := session.New(openStore(t, dir), session.Config{})
	wantLive(t, again, cookie)
	if err := again.RevokeEpoch(t.Context(), epoch); err != nil {
		t.Fatal(err)
	}
	wantLive(t, again, cookie)
}

func TestAttacksOnSessions(t *testing.T) {
	t.Run("C12 session fixation", func(t *testing.T) {
		m, _ := newManager(t)
		planted := "cs_" + strings.Repeat("A", 43)
		wantDead(t, m, planted)
		first, _ := issue(t, m, owner)
		second, _ := issue(t, m, owner)
		if first == second || first == planted {
			t.Error("a session ID came twice")
		}
		wantDead(t, m, planted)
	})
	t.Run("C13 logout is server side", func(t *testing.T) {
		m, _ := newManager(t)
		cookie, p := issue(t, m, owner)
		other, _ := issue(t, m, owner)
		first, release := m.Watch(p)
		defer release()
		second, release := m.Watch(p)
		defer release()
		wantLive(t, m, cookie)
		if err := m.Revoke(t.Context(), p.Ref); err != nil {
			t.Fatal(err)
		}
		wantDead(t, m, cookie)
		wantClosed(t, "the first tab's socket", first)
		wantClosed(t, "the second tab's socket", second)
		late, release := m.Watch(p)
		defer release()
		wantClosed(t, "a socket that was let in just before", late)
		wantLive(t, m, other)
		if err := m.Revoke(t.Context(), p.Ref); err != nil {
			t.Errorf("logging out twice: %v", err)
		}
	})
	t.Run("C15 password change / disable", func(t *testing.T) {
		m, _ := newManager(t)
		user := account.Principal{Role: account.User, UserID: "u1", Name: "Bo"}
		one, p := issue(t, m, user)
		two, q := issue(t, m, user)
		token := account.Principal{Role: account.User, UserID: "u1", Method: account.ByToken, Ref: "token:1"}
		kept, _ := m.Watch(p)
		ended, _ := m.Watch(q)
		byToken, _ := m.Watch(token)
		theirs, _ := issue(t, m, owner)
		if err := m.RevokeUser(t.Context(), "u1", p.Ref); err != nil {
			t.Fatal(err)
		}
		wantLive(t, m, one)
		wantDead(t, m, two)
		wantLive(t, m, theirs)
		wantOpen(t, "the socket of the session that is kept", kept)
		wantClosed(t, "the other session's socket", ended)
		wantClosed(t, "the token's socket", byToken)
	})
	t.Run("C15 the password file is deleted", func(t *testing.T) {
		m, _ := newManager(t)
		cookie, p := issue(t, m, owner)
		ended, _ := m.Watch(p)
		theirs, _ := issue(t, m, guest)
		if err := m.RevokeEpoch(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		wantDead(t, m, cookie)
		wantClosed(t, "the owner's socket", ended)
		wantLive(t, m, theirs)
		if err := m.RevokeEpoch(t.Context(), session.PasswordEpoch+"2"); err != nil {
			t.Fatal(err)
		}
		wantDead(t, m, cookie)
	})
	t.Run("G9 fail closed", func(t *testing.T) {
		m, db := newManager(t)
		cookie, _ := issue(t, m, owner)
		theirs, p := issue(t, m, guest)
		wantLive(t, m, theirs)
		guestSocket, _ := m.Watch(p)
		db.down.Store(true)
		if p, err := m.Find(t.Context(), cookie); !errors.Is(err, errDown) || p.Role != account.Anonymous {
			t.Errorf("Find = %v, %v; want the store's error and nobody", p, err)
		}
		if _, p, err := m.Issue(t.Context(), owner, session.Client{}, session.Terms{Epoch: epoch}); !errors.Is(err, errDown) || p.Role != account.Anonymous {
			t.Errorf("Issue = %v, %v; want the store's error and nobody", p, err)
		}
		if err := m.RevokeEpoch(t.Context(), ""); !errors.Is(err, errDown) {
			t.Errorf("RevokeEpoch = %v, want the store's error", err)
		}
		if err := m.RevokeGuests(t.Context()); !errors.Is(err, errDown) {
			t.Errorf("RevokeGuests = %v, want the store's error", err)
		}
		wantClosed(t, "the guest's socket", guestSocket)
		db.down.Store(false) // their rows are still there, and dead all the same
		wantDead(t, m, cookie)
		wantDead(t, m, theirs)
	})
	t.Run("unknown cookies leave nothing behind", func(t *testing.T) {
		m, db := newManager(t)
		for _, value := range []string{"", "x", "cs_", "cs_" + strings.Repeat("A", 42), "cl_" + strings.Repeat("A", 43), strings.Repeat("A", 1<<16)} {
			wantDead(t, m, value)
		}
		if n := db.reads.Load(); n != 0 {
			t.Errorf("%d look-ups for what cannot be a session", n)
		}
		for range 50 {
			wantDead(t, m, account.RandomSecret("cs_").Reveal())
		}
		if n := session.Remembered(m); n != 0 {
			t.Errorf("%d unknown cookies are remembered", n)
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	m, db := newManager(t)
	for i := range 300 { // more than a shard holds, all in one
		session.Remember(m, account.Session{Hash: fmt.Sprintf("00%062x", i), Role: account.User, CreatedAt: time.Now(), SeenAt: time.Now()})
	}
	if n := session.Remembered(m); n != session.PerShard {
		t.Errorf("%d sessions are remembered, want %d", n, session.PerShard)
	}
	cookie, _ := issue(t, m, owner)
	wantLive(t, m, cookie)
	before := db.reads.Load()
	for range 100 {
		wantLive(t, m, cookie)
	}
	if n := db.reads.Load() - before; n != 0 {
		t.Errorf("%d look-ups for a session in use", n)
	}
}

func TestRevokingBeatsLookingUp(t *testing.T) {
	m, _ := newManager(t)
	for range 50 {
		cookie, p := issue(t, m, owner)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { m.Find(t.Context(), cookie) })
		}
		if err := m.Revoke(t.Context(), p.Ref); err != nil {
			t.Fatal(err)
		}
		wantDead(t, m, cookie)
		wg.Wait()
		wantDead(t, m, cookie)
	}
}

func TestGuestsComeBackOnlyByANewSession(t *testing.T) {
	m, _ := newManager(t)
	old, _ := issue(t, m, guest)
	stays, _ := issue(t, m, owner)
	if err := m.RevokeGuests(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantDead(t, m, old)
	wantLive(t, m, stays)
	m.AllowGuests()
	wantDead(t, m, old)
	fresh, _ := issue(t, m, guest)
	wantLive(t, m, fresh)
}

func TestReleaseForgetsAWatch(t *testing.T) {
	m, _ := newManager(t)
	_, p := issue(t, m, owner)
	_, first := m.Watch(p)
	_, second := m.Watch(p)
	first()
	first()
	if got := m.Watched(p.Ref); len(got) != 1 {
		t.Errorf("watched = %v, want the second only", got)
	}
	second()
	if got := m.Watched(""); len(got) != 0 {
		t.Errorf("watched = %v, want nothing", got)
	}
	never, release := m.Watch(account.Principal{Role: account.Owner, Method: account.ByKey})
	release()
	wantOpen(t, "the fixed key's socket", never)
}

func TestTheAgentIsCutBetweenCharacters(t *testing.T) {
	m, db := newManager(t)
	for _, agent := range []string{strings.Repeat("é", 200), "a" + strings.Repeat("é", 200), "\xff\xfe" + strings.Repeat("x", 300)} {
		_, p, err := m.Issue(t.Context(), owner, session.Client{Agent: agent}, session.Terms{})
		if err != nil {
			t.Fatal(err)
		}
		s, err := db.DB.Session(t.Context(), p.Ref)
		if err != nil || len(s.Agent) > 256 || len(s.Agent) < 254 || strings.ToValidUTF8(s.Agent, "?") != s.Agent {
			t.Errorf("%d bytes kept, %v", len(s.Agent), err)
		}
	}
}

func FuzzFind(f *testing.F) {
	f.Add("cs_" + strings.Repeat("A", 43))
	f.Add("")
	f.Add("cs_\x00")
	db, err := store.Open(context.Background(), filepath.Join(f.TempDir(), store.FileName))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { db.Close() })
	m := session.New(db, session.Config{})
	f.Fuzz(func(t *testing.T, value string) { wantDead(t, m, value) })
}

// The path of every request with a cookie.
func BenchmarkFind(b *testing.B) {
	db, err := store.Open(b.Context(), filepath.Join(b.TempDir(), store.FileName))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	m := session.New(db, session.Config{})
	cookie, _, err := m.Issue(b.Context(), owner, session.Client{}, session.Terms{Epoch: epoch})
	if err != nil {
		b.Fatal(err)
	}
	value := cookie.Reveal()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := m.Find(b.Context(), value); err != nil {
				b.Fatal(err)
			}
		}
	})
}
