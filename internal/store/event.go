package store

import (
	"context"
	"database/sql"

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
	if before == 0 {
		before = 1<<63 - 1
	}
	where, args := `id < $1`, []any{before, limit}
	if kind != "" {
		where, args = where+` AND kind = $3`, append(args, string(kind))
	}
	rows, err := db.read.QueryContext(ctx, `SELECT id, at, kind, principal, name, address, detail
		FROM event WHERE `+where+` ORDER BY id DESC LIMIT $2`, args...)
	if err != nil {
		return nil, wrap("read security events", err)
	}
	defer rows.Close()
	var out []audit.Event
	for rows.Next() {
		var e audit.Event
		var at int64
		if err := rows.Scan(&e.ID, &at, &e.Kind, &e.Principal, &e.Name, &e.Address, &e.Detail); err != nil {
			return nil, wrap("read security events", err)
		}
		e.Time = moment(at)
		out = append(out, e)
	}
	return out, wrap("read security events", rows.Err())
}

// PruneEvents removes the oldest events until keep are left.
func (db *DB) PruneEvents(ctx context.Context, keep int64) error {
	_, err := db.write.ExecContext(ctx, `DELETE FROM event WHERE id <= (SELECT max(id) FROM event) - $1`, keep)
	return wrap("remove old security events", err)
}
