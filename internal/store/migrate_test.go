package store

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"comfylatch/internal/account"
)

func openHere(t *testing.T, dir string) *DB {
	t.Helper()
	db, err := Open(t.Context(), filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestANewerDatabaseIsRefused(t *testing.T) {
	dir := t.TempDir()
	db := openHere(t, dir)
	if _, err := db.write.ExecContext(t.Context(), `INSERT INTO migration (version, at) VALUES (99, 0)`); err != nil {
		t.Fatal(err)
	}
	db.Close()
	_, err := Open(t.Context(), filepath.Join(dir, FileName))
	if err == nil || !strings.Contains(err.Error(), "newer comfylatch") {
		t.Errorf("error = %v, want a sentence about a newer comfylatch", err)
	}
}

func TestAnotherProgramsDatabaseIsRefused(t *testing.T) {
	dir := t.TempDir()
	db := openHere(t, dir)
	if _, err := db.write.ExecContext(t.Context(), `ALTER TABLE migration RENAME TO theirs`); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if _, err := Open(t.Context(), filepath.Join(dir, FileName)); err == nil || !strings.Contains(err.Error(), "not a comfylatch database") {
		t.Errorf("error = %v, want a refusal", err)
	}
}

func TestAMigrationKeepsACopyOfWhatWas(t *testing.T) {
	dir := t.TempDir()
	db := openHere(t, dir)
	session := account.Session{Hash: "kept", Role: account.User}
	if err := db.PutSession(t.Context(), session); err != nil {
		t.Fatal(err)
	}
	steps, err := migrations()
	if err != nil {
		t.Fatal(err)
	}
	more := append(steps, `CREATE TABLE more (id TEXT PRIMARY KEY); DROP TABLE session`)
	if err := db.migrateTo(t.Context(), more); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Session(t.Context(), "kept"); err == nil {
		t.Error("the migration did not run")
	}
	copied := db.backup(len(steps))
	if info, err := os.Stat(copied); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the copy: %v, %v; want rights 600", info, err)
	}
	old, err := Open(t.Context(), copied)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if _, err := old.Session(t.Context(), "kept"); err != nil {
		t.Errorf("the copy lacks what was kept: %v", err)
	}
}

func TestAFailedMigrationChangesNothing(t *testing.T) {
	db := openHere(t, t.TempDir())
	steps, _ := migrations()
	broken := append(steps, `CREATE TABLE more (id TEXT)`, `this is not SQL`)
	if err := db.migrateTo(t.Context(), broken); err == nil {
		t.Fatal("a broken migration succeeded")
	}
	if got, err := version(t.Context(), db.write); got != len(steps) || err != nil {
		t.Errorf("version = %d, %v, want %d", got, err, len(steps))
	}
	if _, err := db.write.ExecContext(t.Context(), `SELECT id FROM more`); err == nil {
		t.Error("half of the migration stayed")
	}
}

func TestManyProgramsOpenANewDatabaseAtOnce(t *testing.T) {
	dir := t.TempDir()
	for round := range 10 {
		path := filepath.Join(dir, fmt.Sprint(round), FileName)
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				db, err := Open(t.Context(), path)
				if err != nil {
					t.Error(err)
					return
				}
				db.Close()
			})
		}
		wg.Wait()
	}
}
