package store_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"comfylatch/internal/account"
	"comfylatch/internal/store"
	"comfylatch/internal/store/storetest"
)

var _ storetest.Engine = (*store.DB)(nil)

func TestSQLite(t *testing.T) {
	storetest.Run(t, func(t *testing.T, dir string) storetest.Engine { return open(t, dir) })
}

func open(t *testing.T, dir string) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), filepath.Join(dir, store.FileName))
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func TestTheFileIsItsOwnersAlone(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("rights are not bits there")
	}
	dir := filepath.Join(t.TempDir(), "new", "state")
	db := open(t, dir)
	defer db.Close()
	if err := db.PutMeta(t.Context(), map[string]string{"a": "1"}); err != nil {
		t.Fatal(err)
	}
	files, _ := os.ReadDir(dir)
	if len(files) < 2 {
		t.Errorf("%d files: is there no WAL?", len(files))
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != 0o600 {
			t.Errorf("%s has rights %o, want 600", f.Name(), got)
		}
	}
	if info, _ := os.Stat(dir); info.Mode().Perm() != 0o700 {
		t.Errorf("the folder has rights %o, want 700", info.Mode().Perm())
	}
}

func TestOddFolderNames(t *testing.T) {
	for _, name := range []string{"with space", "100%25", "what?mode=memory", "a#b", "ümläut", "a;b&c=d"} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), name)
			open(t, dir).Close()
			if _, err := os.Stat(filepath.Join(dir, store.FileName)); err != nil {
				t.Errorf("the database is not where it should be: %v", err)
			}
		})
	}
}

func TestWhatIsNoDatabaseIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), store.FileName)
	text := strings.Repeat("this is not a database\n", 400)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := store.Open(t.Context(), path)
	if err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error = %v, want one that names the file", err)
	}
	if got, _ := os.ReadFile(path); string(got) != text {
		t.Error("the file was changed")
	}
}

func TestASecondGateIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	unlock, err := store.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = store.Lock(dir)
	if err == nil || !strings.Contains(err.Error(), "another comfylatch already runs") {
		t.Errorf("second lock: %v, want a sentence about another gate", err)
	}
	db := open(t, dir) // a sub-command beside the gate
	db.Close()
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	unlock, err = store.Lock(dir)
	if err != nil {
		t.Fatalf("after the first has ended: %v", err)
	}
	unlock()
}

// TestMain lets the test binary play the process that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("STORE_TEST_WRITER"); dir != "" {
		fmt.Println("error:", writeForever(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// writeForever keeps sessions and says each only after it is acknowledged.
func writeForever(dir string) error {
	unlock, err := store.Lock(dir)
	if err != nil {
		return err
	}
	defer unlock()
	db, err := store.Open(context.Background(), filepath.Join(dir, store.FileName))
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		s := account.Session{Hash: fmt.Sprintf("%06d", i), Role: account.User, CreatedAt: time.Now(), SeenAt: time.Now()}
		if err := db.PutSession(context.Background(), s); err != nil {
			return err
		}
		fmt.Println(s.Hash)
	}
}

func TestKillLosesNothingAcknowledged(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	var last string
	for round := range 3 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), "STORE_TEST_WRITER="+dir)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; n < 20+round && lines.Scan(); n++ {
			last = lines.Text()
		}
		child.Process.Kill() // SIGKILL
		for lines.Scan() {   // acknowledged before it died
			last = lines.Text()
		}
		child.Wait()
		if strings.HasPrefix(last, "error") {
			t.Fatal(last)
		}
		unlock, err := store.Lock(dir)
		if err != nil {
			t.Fatalf("the killed gate's lock stays: %v", err)
		}
		db := open(t, dir)
		for i := 0; ; i++ {
			hash := fmt.Sprintf("%06d", i)
			if _, err := db.Session(t.Context(), hash); err != nil {
				t.Fatalf("round %d: session %s of %s was acknowledged and is gone: %v", round, hash, last, err)
			}
			if hash == last {
				break
			}
		}
		if _, err := db.DeleteUserSessions(t.Context(), "", ""); err != nil {
			t.Fatal(err)
		}
		db.Close()
		unlock()
	}
}
