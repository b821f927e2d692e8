package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"modernc.org/sqlite" // and its driver "sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

//go:embed migrations/*.sql
var files embed.FS

// migrations are the embedded files in order; the first brings a database to
// version 1. Once released a file never changes.
func migrations() ([]string, error) {
	names, err := fs.Glob(files, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	var texts []string
	for _, name := range names { // Glob sorts
		text, err := files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		texts = append(texts, string(text))
	}
	return texts, nil
}

// migrate brings the database to the newest version: forward only, in one
// transaction, after a copy of what was there.
func (db *DB) migrate(ctx context.Context) error {
	steps, err := migrations()
	if err != nil {
		return err
	}
	return db.migrateTo(ctx, steps)
}

func (db *DB) migrateTo(ctx context.Context, steps []string) error {
	version, err := db.firstLook(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("%w (if the file is damaged, put a back-up in its place or move it away: passwords are not in it)", err)
	case version > len(steps):
		return fmt.Errorf("it was written by a newer comfylatch (version %d of the tables, this program knows %d): use the newer program, or put back the copy %s if you have it",
			version, len(steps), db.backup(len(steps)))
	case version == len(steps):
		return nil
	case version > 0:
		if err := db.copyTo(ctx, db.backup(version)); err != nil {
			return fmt.Errorf("copy it before bringing it up to date: %w", err)
		}
	}
	return db.tx(ctx, "bring the tables up to date", func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS migration (version BIGINT PRIMARY KEY, at BIGINT NOT NULL)`); err != nil {
			return err
		}
		done, err := versionIn(ctx, tx) // another program may have been quicker
		if err != nil {
			return err
		}
		for i := done; i < len(steps); i++ {
			if _, err := tx.ExecContext(ctx, steps[i]); err != nil {
				return fmt.Errorf("step %d: %w", i+1, err)
			}
			if _, err := tx.ExecContext(ctx, `INSERT INTO migration (version, at) VALUES ($1, $2)`, i+1, time.Now().UnixMilli()); err != nil {
				return err
			}
		}
		return nil
	})
}

// firstLook gives the version of the tables. The first connection turns a new
// file into one with a WAL, and SQLite does not wait (busy_timeout) while
// another program does the same: so we do.
func (db *DB) firstLook(ctx context.Context) (int, error) {
	const patience, pause = 5 * time.Second, 5 * time.Millisecond
	for begun := time.Now(); ; time.Sleep(pause) {
		n, err := version(ctx, db.write)
		var busy *sqlite.Error
		if !errors.As(err, &busy) || busy.Code()&0xff != sqlite3.SQLITE_BUSY || time.Since(begun) > patience || ctx.Err() != nil {
			return n, err
		}
	}
}

type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// version is 0 for an empty database. One with tables that are not ours is an error.
func version(ctx context.Context, q querier) (int, error) {
	var tables, ours int
	err := q.QueryRowContext(ctx, `SELECT count(*), coalesce(sum(name = 'migration'), 0) FROM sqlite_master WHERE type = 'table'`).Scan(&tables, &ours)
	switch {
	case err != nil:
		return 0, err
	case tables == 0:
		return 0, nil
	case ours == 0:
		return 0, errors.New("it is not a comfylatch database: another program's tables are in it")
	}
	return versionIn(ctx, q)
}

func versionIn(ctx context.Context, q querier) (int, error) {
	var n int
	err := q.QueryRowContext(ctx, `SELECT coalesce(max(version), 0) FROM migration`).Scan(&n)
	return n, err
}

func (db *DB) backup(version int) string { return fmt.Sprintf("%s.v%d.bak", db.path, version) }

// copyTo writes a whole, consistent copy of the database, readable by its
// owner alone, in place of an older copy.
func (db *DB) copyTo(ctx context.Context, path string) error {
	part := path + ".part"
	if err := os.Remove(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	// VACUUM INTO takes an empty file, and sees what is only in the WAL yet.
	if _, err := db.write.ExecContext(ctx, `VACUUM INTO $1`, part); err != nil {
		return errors.Join(err, os.Remove(part))
	}
	return os.Rename(part, path)
}
