package login_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"comfylatch/internal/account"
	"comfylatch/internal/audit"
	"comfylatch/internal/login"
	"comfylatch/internal/session"
	"comfylatch/internal/store"
	"comfylatch/internal/throttle"
)

// house is a gate's identity rooms on a real store and real files.
type house struct {
	*login.Service
	dir      string // the state folder
	db       *store.DB
	sessions *session.Manager
	audit    *audit.Log
	logged   *syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// enter starts the rooms on a state folder, as the program does.
func enter(t *testing.T, dir string, change ...func(*login.Options)) *house {
	t.Helper()
	h, err := tryEnter(t, dir, change...)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func tryEnter(t *testing.T, dir string, change ...func(*login.Options)) (*house, error) {
	t.Helper()
	db, err := store.Open(t.Context(), filepath.Join(dir, store.FileName))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	limiter, err := throttle.New(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	h := &house{dir: dir, db: db, sessions: session.New(db, session.Config{}), logged: &syncBuffer{}}
	log := slog.New(slog.NewTextHandler(io.MultiWriter(h.logged, t.Output()), &slog.HandlerOptions{Level: slog.LevelDebug}))
	h.audit = audit.New(db, log)
	o := login.Options{StateDir: dir, Store: db, Sessions: h.sessions, Throttle: limiter, Audit: h.audit, Log: log}
	for _, f := range change {
		f(&o)
	}
	h.Service, err = login.New(t.Context(), o)
	return h, err
}

// run runs the rooms until the test ends.
func (h *house) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { h.Service.Run(ctx) })
	wg.Go(func() { h.sessions.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
}

func (h *house) path() string { return filepath.Join(h.dir, "PASSWORD") }

func (h *house) kinds(t *testing.T) (kinds []string) {
	t.Helper()
	if err := h.audit.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	events, err := h.db.Events(t.Context(), "", 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		kinds = append([]string{string(e.Kind)}, kinds...)
	}
	return kinds
}

var (
	here  = login.Client{Address: netip.MustParseAddr("127.0.0.1"), Agent: "test", Local: true}
	there = login.Client{Address: netip.MustParseAddr("192.0.2.7"), Agent: "test"}
)

const password = "correct horse"

// setUp starts the rooms in a new folder with the owner Ada.
func setUp(t *testing.T, change ...func(*login.Options)) (h *house, cookie string) {
	t.Helper()
	h = enter(t, t.TempDir(), change...)
	secret, _, err := h.SetUp(t.Context(), "Ada", password, "", here)
	if err != nil {
		t.Fatal(err)
	}
	return h, secret.Reveal()
}

// put writes PASSWORD as a person would, in place of what is there.
func put(t *testing.T, dir, text string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "PASSWORD"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// bcryptLine is a hash as ComfyUI-Login wrote it, but cheaper.
func bcryptLine(t *testing.T, password string) string {
	t.Helper()
	b := []byte(password)
	line, err := bcrypt.GenerateFromPassword(b[:min(len(b), 72)], bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Replace(string(line), "$2a$", "$2b$", 1) // as Python's does
}

// soon waits for something that a running room does by itself.
func soon(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 500 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s: not after five seconds", what)
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: error = %v, want %v", what, err, want)
	}
}

func wantInputError(t *testing.T, what string, err error, field string) {
	t.Helper()
	var bad *account.InputError
	if !errors.As(err, &bad) || bad.Field != field {
		t.Errorf("%s: error = %v, want an InputError for %s", what, err, field)
	}
}

func (h *house) wantIn(t *testing.T, what, cookie string) {
	t.Helper()
	if _, err := h.Find(t.Context(), cookie); err != nil {
		t.Errorf("%s: the session is dead: %v", what, err)
	}
}

func (h *house) wantOut(t *testing.T, what, cookie string) {
	t.Helper()
	p, err := h.Find(t.Context(), cookie)
	if !errors.Is(err, account.ErrNotFound) && !errors.Is(err, account.ErrExpired) {
		t.Errorf("%s: the session gives %v, %v; want it dead", what, p, err)
	}
}

func TestSetUpThenLogIn(t *testing.T) {
	h := enter(t, filepath.Join(t.TempDir(), "state"))
	if got := h.Status(); got != (login.Status{}) {
		t.Errorf("before: %+v", got)
	}
	_, _, err := h.LogIn(t.Context(), "Ada", password, here)
	wantErr(t, "log in before the set-up", err, account.ErrSetUpNeeded)

	cookie, p, err := h.SetUp(t.Context(), " Ada ", password, "", here)
	if err != nil || p.Role != account.Owner || p.UserID != account.OwnerID || p.Name != "Ada" || p.Method != account.ByCookie {
		t.Fatalf("set up: %+v, %v", p, err)
	}
	h.wantIn(t, "after the set-up", cookie.Reveal())
	if got, want := h.Status(), (login.Status{SetUp: true, OwnerName: "Ada"}); got != want {
		t.Errorf("after: %+v, want %+v", got, want)
	}
	text, err := os.ReadFile(h.path())
	if err != nil || !strings.HasPrefix(string(text), "$argon2id$v=19$m=19456,t=2,p=1$") || !strings.HasSuffix(string(text), "\nAda\n") {
		t.Errorf("PASSWORD is %q, %v", text, err)
	}
	if info, _ := os.Stat(h.path()); info.Mode().Perm() != 0o600 {
		t.Errorf("PASSWORD has rights %o, want 600", info.Mode().Perm())
	}
	if left, _ := filepath.Glob(filepath.Join(h.dir, "*.tmp")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}

	for _, name := range []string{"Ada", "ada", " ADA ", ""} {
		cookie, p, err := h.LogIn(t.Context(), name, password, there)
		if err != nil || p.Name != "Ada" || p.Role != account.Owner {
			t.Errorf("log in as %q: %+v, %v", name, p, err)
			continue
		}
		h.wantIn(t, name, cookie.Reveal())
	}
	_, _, err = h.LogIn(t.Context(), "Ada", password+"x", there)
	wantErr(t, "a wrong password", err, account.ErrBadCredentials)
	_, _, err = h.SetUp(t.Context(), "Eve", "other", "", here)
	wantErr(t, "a second set-up", err, account.ErrAlreadySetUp)
	if got, want := strings.Join(h.kinds(t), " "), "set-up log-in log-in log-in log-in log-in failure"; got != want {
		t.Errorf("recorded: %s\nwant:     %s", got, want)
	}
}

func TestARestartChangesNothing(t *testing.T) {
	h, cookie := setUp(t)
	token := h.ConsoleToken()
	again := enter(t, h.dir)
	again.wantIn(t, "after a restart", cookie)
	if !again.ConsoleToken().Equal(token.Reveal()) {
		t.Error("the console token is another after a restart")
	}
	if !strings.HasPrefix(token.Reveal(), "cl_") || len(token.Reveal()) < 40 {
		t.Error("the console token does not look like one")
	}
}

func TestTheConsoleTokenTakesTheStoreAndTheKeyFile(t *testing.T) {
	h, _ := setUp(t)
	before := h.ConsoleToken()
	if err := os.Remove(filepath.Join(h.dir, "secret.key")); err != nil {
		t.Fatal(err)
	}
	again := enter(t, h.dir)
	if again.ConsoleToken().Equal(before.Reveal()) {
		t.Error("the database alone gives the console token")
	}
	if _, err := again.Token(t.Context(), before.Reveal(), there); !errors.Is(err, account.ErrBadCredentials) {
		t.Errorf("the old console token: %v", err)
	}
}

func TestLogOut(t *testing.T) {
	h, cookie := setUp(t)
	p, err := h.Find(t.Context(), cookie)
	if err != nil {
		t.Fatal(err)
	}
	ended, release := h.sessions.Watch(p)
	defer release()
	if err := h.LogOut(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	h.wantOut(t, "C13 the old cookie", cookie)
	<-ended
	if err := h.LogOut(t.Context(), p); err != nil {
		t.Errorf("twice: %v", err)
	}
	token := h.ConsoleToken().Reveal()
	p, err = h.Token(t.Context(), token, there)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.LogOut(t.Context(), p); err != nil {
		t.Error(err)
	}
	if _, err := h.Token(t.Context(), token, there); err != nil {
		t.Errorf("a program's token ended by a log-out: %v", err)
	}
}

// readAll gives the bytes of all files in a folder.
func readAll(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	files, err := os.ReadDir(dir)
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}
