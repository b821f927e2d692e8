package login_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"comfylatch/internal/account"
	"comfylatch/internal/login"
)

func TestDeletingPasswordStartsOver(t *testing.T) {
	h, cookie := setUp(t, func(o *login.Options) { o.Guest = true })
	h.run(t)
	guest, _, err := h.Guest(t.Context(), there)
	if err != nil {
		t.Fatal(err)
	}
	console := h.ConsoleToken().Reveal()
	program, _, err := h.CreateToken(t.Context(), login.NewToken{Name: "script", Role: account.Admin})
	if err != nil {
		t.Fatal(err)
	}
	var sockets []<-chan struct{}
	for _, value := range []string{console, program.Reveal()} {
		p, err := h.Token(t.Context(), value, there)
		if err != nil {
			t.Fatal(err)
		}
		ended, _ := h.sessions.Watch(p)
		sockets = append(sockets, ended)
	}
	p, _ := h.Find(t.Context(), cookie)
	ended, _ := h.sessions.Watch(p)
	sockets = append(sockets, ended)

	if err := os.Remove(h.path()); err != nil {
		t.Fatal(err)
	}
	for _, ended := range sockets { // nobody asks anything: the rooms notice by themselves
		<-ended
	}
	h.wantOut(t, "C15 the owner", cookie)
	h.wantIn(t, "the guest", guest.Reveal())
	for _, value := range []string{console, program.Reveal()} {
		_, err := h.Token(t.Context(), value, there)
		wantErr(t, "C15 a token", err, account.ErrBadCredentials)
	}
	soon(t, "the set-up", func() bool { return !h.Status().SetUp })
	if st := h.Status(); !h.ConsoleToken().Empty() || h.SetUpCode().Empty() {
		t.Errorf("status %+v", st)
	}
	_, _, err = h.LogIn(t.Context(), "Ada", password, there)
	wantErr(t, "the old password", err, account.ErrSetUpNeeded)

	if _, _, err := h.SetUp(t.Context(), "Ada", password, "", here); err != nil {
		t.Fatal(err)
	}
	h.wantOut(t, "the old session under the same password again", cookie)
	if h.ConsoleToken().Equal(console) {
		t.Error("the console token is the old one")
	}
	var kinds []login.NoticeKind
	for len(h.Notices()) > 0 {
		kinds = append(kinds, (<-h.Notices()).Kind)
	}
	want := []login.NoticeKind{login.SetUpNeeded, login.PasswordSet, login.SetUpNeeded, login.PasswordSet}
	if len(kinds) != len(want) {
		t.Fatalf("notices %v, want %v", kinds, want)
	}
	for i := range want {
		if kinds[i] != want[i] {
			t.Errorf("notices %v, want %v", kinds, want)
		}
	}
}

func TestDeletingIsNoticedOnUse(t *testing.T) {
	h, cookie := setUp(t) // nothing runs in the background
	if err := os.Remove(h.path()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(60 * time.Millisecond)
	h.wantOut(t, "the owner", cookie)
}

func TestDeletingWhileNothingRuns(t *testing.T) {
	h, cookie := setUp(t)
	program, _, err := h.CreateToken(t.Context(), login.NewToken{Name: "script", Role: account.Admin})
	if err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(h.path())
	console := h.ConsoleToken()
	os.Remove(h.path())
	again := enter(t, h.dir)
	again.wantOut(t, "the owner", cookie)
	_, err = again.Token(t.Context(), program.Reveal(), there)
	wantErr(t, "the token", err, account.ErrBadCredentials)

	put(t, h.dir, string(text)) // the very same file, put back later
	third := enter(t, h.dir)
	third.wantOut(t, "the owner's old session", cookie)
	if third.ConsoleToken().Equal(console.Reveal()) {
		t.Error("the console token is the old one")
	}
}

func TestEditsByHand(t *testing.T) {
	h, cookie := setUp(t)
	h.run(t)
	text, _ := os.ReadFile(h.path())
	line, _, _ := strings.Cut(string(text), "\n")

	put(t, h.dir, line+"\nGrace\n")
	soon(t, "another name", func() bool { return h.Status().OwnerName == "Grace" })
	h.wantIn(t, "another name", cookie)

	put(t, h.dir, login.NewHashLine("another")+"\nGrace\n")
	soon(t, "another hash", func() bool { _, err := h.Find(t.Context(), cookie); return err != nil })
	_, _, err := h.LogIn(t.Context(), "Grace", password, there)
	wantErr(t, "the old password", err, account.ErrBadCredentials)
	if _, _, err := h.LogIn(t.Context(), "Grace", "another", there); err != nil {
		t.Errorf("the new one: %v", err)
	}
}

func TestADamagedFileKeepsEverybodyOutAndIsForgiven(t *testing.T) {
	h, cookie := setUp(t)
	h.run(t)
	text, _ := os.ReadFile(h.path())
	token := h.ConsoleToken().Reveal()
	put(t, h.dir, "oops\n")
	if _, _, err := h.LogIn(t.Context(), "Ada", password, here); err == nil || !strings.Contains(err.Error(), "cannot be used") {
		t.Errorf("log in: %v", err)
	}
	if _, _, err := h.SetUp(t.Context(), "Eve", "x", "", here); err == nil || errors.Is(err, account.ErrAlreadySetUp) {
		t.Errorf("set up over it: %v", err)
	}
	if _, err := h.Token(t.Context(), token, there); !errors.Is(err, account.ErrBadCredentials) {
		t.Errorf("the console token: %v", err)
	}
	if !h.Status().SetUp {
		t.Error("the page would offer a set-up")
	}
	put(t, h.dir, string(text)) // the editor's second step
	soon(t, "mended", func() bool { _, err := h.Token(t.Context(), token, there); return err == nil })
	h.wantIn(t, "after a moment of damage", cookie)
	put(t, h.dir, "oops\n")
	soon(t, "damaged for long", func() bool { _, err := h.Find(t.Context(), cookie); return err != nil })
}

func TestAHashMadeAnewEndsNothing(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, bcryptLine(t, password)+"\nAda\n")
	h := enter(t, dir)
	console := h.ConsoleToken().Reveal()
	first, _, err := h.LogIn(t.Context(), "Ada", password, there)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(h.path())
	if !strings.HasPrefix(string(text), "$argon2id$") || !strings.HasSuffix(string(text), "\nAda\n") {
		t.Fatalf("PASSWORD is %q", text)
	}
	h.wantIn(t, "now", first.Reveal())
	again := enter(t, dir)
	again.wantIn(t, "after a restart", first.Reveal())
	if !again.ConsoleToken().Equal(console) {
		t.Error("the console token changed with the hash's form")
	}
	second, _, err := again.LogIn(t.Context(), "Ada", password, there)
	if err != nil {
		t.Fatal(err)
	}
	if now, _ := os.ReadFile(h.path()); string(now) != string(text) {
		t.Error("a good hash was made anew")
	}
	again.wantIn(t, "the second", second.Reveal())
}

func TestAFolderThatCannotBeWrittenKeepsNobodyOut(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("nothing is unwritable to root")
	}
	dir := t.TempDir()
	put(t, dir, bcryptLine(t, password)+"\nAda\n")
	h := enter(t, dir)
	os.Chmod(dir, 0o500)
	t.Cleanup(func() { os.Chmod(dir, 0o700) })
	if _, _, err := h.LogIn(t.Context(), "Ada", password, there); err != nil {
		t.Errorf("log in: %v", err)
	}
	if !strings.Contains(h.logged.String(), "could not be renewed") {
		t.Error("the log says nothing")
	}
}

func TestOthersMayNotReadPassword(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, bcryptLine(t, password)+"\nAda\n")
	if err := os.Chmod(filepath.Join(dir, "PASSWORD"), 0o644); err != nil {
		t.Fatal(err)
	}
	enter(t, dir)
	if info, _ := os.Stat(filepath.Join(dir, "PASSWORD")); info.Mode().Perm() != 0o600 {
		t.Errorf("rights %o, want 600", info.Mode().Perm())
	}
}
