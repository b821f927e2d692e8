// Package store keeps what must outlive the process: people, sessions, tokens,
// links, counters of failed log-ins, security events and a few settings, in one
// SQLite file in the state folder.
//
// It knows no rules: who may log in, how long a session lives and when a token
// is dead is decided by the rooms that call it. It never sees a password or the
// value of a credential, only hashes.
//
// The rule that must hold: when a method that writes has returned without an
// error, the change survives a power cut (WAL with synchronous=FULL). There is
// one writing connection; a decision that must not race is one conditional
// statement whose row count is the answer.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"comfylatch/internal/account"
)

// FileName is the database's name in the state folder.
const FileName = "comfylatch.db"

// DB is the store. Its methods may be called from any goroutine, and beside
// another process that has the same file open.
type DB struct {
	path  string
	write *sql.DB // one connection: SQLite has one writer
	read  *sql.DB
}

const readers = 4 // connections that read beside the writer

// Open opens the database at path, and makes it or brings it up to date where
// needed. Before an existing one is changed it is copied to PATH.vN.bak. The
// file is readable by its owner alone.
func Open(ctx context.Context, path string) (*DB, error) {
	db, err := open(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("open the database %s: %w", path, err)
	}
	return db, nil
}

func open(ctx context.Context, path string) (*DB, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	// SQLite would make the file with the umask's rights; its -wal and -shm
	// files copy the rights of the main one.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = errors.Join(f.Chmod(0o600), f.Close())
	if err != nil {
		return nil, err
	}
	db := &DB{path: path}
	if db.write, err = sql.Open("sqlite", dsn(path, "")); err != nil {
		return nil, err
	}
	db.write.SetMaxOpenConns(1)
	db.write.SetMaxIdleConns(1)
	if db.read, err = sql.Open("sqlite", dsn(path, "&_pragma=query_only(1)")); err != nil {
		return nil, errors.Join(err, db.write.Close())
	}
	db.read.SetMaxOpenConns(readers)
	db.read.SetMaxIdleConns(readers)
	if err := db.migrate(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func dsn(path, more string) string {
	file := url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path)}
	return file.String() + "?_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)" +
		"&_pragma=synchronous(FULL)&_pragma=cache_size(-512)" + more
}

// Close ends the connections. Everything acknowledged is already on the disk.
func (db *DB) Close() error { return errors.Join(db.read.Close(), db.write.Close()) }

// ForeignChanges gives a number that differs from the one before when another
// process has written to the database in between. Our own writes do not count.
func (db *DB) ForeignChanges(ctx context.Context) (int64, error) {
	var n int64
	// Asked on the writing connection: SQLite counts what other connections did.
	if err := db.write.QueryRowContext(ctx, `PRAGMA data_version`).Scan(&n); err != nil {
		return 0, fmt.Errorf("look for changes by other programs: %w", err)
	}
	return n, nil
}

// Meta gives a setting, or account.ErrNotFound.
func (db *DB) Meta(ctx context.Context, key string) (string, error) {
	var value string
	err := db.read.QueryRowContext(ctx, `SELECT value FROM meta WHERE key = $1`, key).Scan(&value)
	return value, wrap("read the setting "+key, err)
}

// PutMeta writes settings, all or none.
func (db *DB) PutMeta(ctx context.Context, values map[string]string) error {
	return db.tx(ctx, "write a setting", func(tx *sql.Tx) error {
		for key, value := range values {
			_, err := tx.ExecContext(ctx, `INSERT INTO meta (key, value) VALUES ($1, $2)
				ON CONFLICT (key) DO UPDATE SET value = excluded.value`, key, value)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// MetaOnce keeps value under key unless there is one, and gives the one that
// is there: of two programs that ask at once, both get the same.
func (db *DB) MetaOnce(ctx context.Context, key, value string) (string, error) {
	var kept string
	err := db.tx(ctx, "write the setting "+key, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO meta (key, value) VALUES ($1, $2)
			ON CONFLICT (key) DO NOTHING`, key, value)
		if err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, `SELECT value FROM meta WHERE key = $1`, key).Scan(&kept)
	})
	return kept, err
}

// tx runs f in one writing transaction.
func (db *DB) tx(ctx context.Context, what string, f func(*sql.Tx) error) error {
	tx, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return wrap(what, err)
	}
	if err := f(tx); err != nil {
		_ = tx.Rollback() // the first error is the one to tell
		return wrap(what, err)
	}
	return wrap(what, tx.Commit())
}

// wrap says what was tried, and turns "no rows" into the rooms' own error.
func wrap(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("%s: %w", what, account.ErrNotFound)
	default:
		return fmt.Errorf("%s: %w", what, err)
	}
}

// millis and moment are how times are stored: unix milliseconds, 0 for never.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func moment(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// oneRow turns a statement that changed nothing into the error none.
func oneRow(res sql.Result, err, none error) error {
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err == nil && n == 0 {
		return none
	}
	return err
}

// all reads a result, which it closes.
func all[T any](rows *sql.Rows, err error, scan func(interface{ Scan(...any) error }) (T, error)) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []T
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, one)
	}
	return out, rows.Err()
}

// texts reads a result of one text column, which it closes.
func texts(rows *sql.Rows, err error) ([]string, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, rows.Err()
}
