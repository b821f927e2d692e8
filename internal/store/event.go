package store

import (
	"context"
	"database/sql"
	"fmt"

	"comfylatch/internal/audit"
)

// AppendEvents adds security events, all or none.
func (db *DB) AppendEvents(ctx context.Context, events []audit.Event) error {
	return db.tx(ctx, "keep security events", func(tx *sql.Tx) error {
		add, err := tx.PrepareContext(ctx, `INSERT INTO event (at, kind, principal, name, address, detail) VALUES ($1, $2, $3, $4, $5, $6)`)
		if err != nil {
			return err
		}
		defer add.Close()
		for _, e := range events {
			if _, err := add.ExecContext(ctx, millis(e.Time), string(e.Kind), e.Principal, e.Name, e.Address, e.Detail); err != nil {
				return err
			}
		}
		return nil
	})
}

// Events gives up to limit events, the newest first: those with a smaller ID
// than before (0: from the newest), of one kind ("": of all).
func (db *DB) Events(ctx context.Context, kind audit.Kind, before int64, limit int) ([]audit.Event, error) {
	return db.FindEvents(ctx, audit.Filter{Kind: kind, Before: before, Limit: limit})
}

// FindEvents gives the events of a filter, the newest first.
func (db *DB) FindEvents(ctx context.Context, f audit.Filter) ([]audit.Event, error) {
	if f.Before <= 0 {
		f.Before = 1<<63 - 1
	}
	where, args := `id < $1`, []any{f.Before, f.Limit}
	if f.Kind != "" {
		args = append(args, string(f.Kind))
		where += fmt.Sprintf(` AND kind = $%d`, len(args))
	}
	if f.Principal != "" {
		args = append(args, f.Principal)
		where += fmt.Sprintf(` AND principal = $%d`, len(args))
	}
	rows, err := db.read.QueryContext(ctx, `SELECT id, at, kind, principal, name, address, detail
		FROM event WHERE `+where+` ORDER BY id DESC LIMIT $2`, args...)
	out, err := all(rows, err, func(row interface{ Scan(...any) error }) (e audit.Event, err error) {
		var at int64
		err = row.Scan(&e.ID, &at, &e.Kind, &e.Principal, &e.Name, &e.Address, &e.Detail)
		e.Time = moment(at)
		return e, err
	})
	return out, wrap("read security events", err)
}

// PruneEvents removes the oldest events until keep are left.
func (db *DB) PruneEvents(ctx context.Context, keep int64) error {
	_, err := db.write.ExecContext(ctx, `DELETE FROM event WHERE id <= (SELECT max(id) FROM event) - $1`, keep)
	return wrap("remove old security events", err)
}
