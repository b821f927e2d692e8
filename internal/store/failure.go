package store

import (
	"context"
	"database/sql"
	"time"

	"comfylatch/internal/throttle"
)

// Counts gives all counters of failed attempts.
func (db *DB) Counts(ctx context.Context) ([]throttle.Count, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT key, failed, last_at FROM failure`)
	if err != nil {
		return nil, wrap("read counters", err)
	}
	defer rows.Close()
	var out []throttle.Count
	for rows.Next() {
		var c throttle.Count
		var last int64
		if err := rows.Scan(&c.Key, &c.Failed, &last); err != nil {
			return nil, wrap("read counters", err)
		}
		c.Last = moment(last)
		out = append(out, c)
	}
	return out, wrap("read counters", rows.Err())
}

// PutCounts writes counters; one with Failed 0 is removed.
func (db *DB) PutCounts(ctx context.Context, counts []throttle.Count) error {
	return db.tx(ctx, "write counters", func(tx *sql.Tx) error {
		for _, c := range counts {
			var err error
			if c.Failed == 0 {
				_, err = tx.ExecContext(ctx, `DELETE FROM failure WHERE key = $1`, c.Key)
			} else {
				_, err = tx.ExecContext(ctx, `INSERT INTO failure (key, failed, last_at) VALUES ($1, $2, $3)
					ON CONFLICT (key) DO UPDATE SET failed = excluded.failed, last_at = excluded.last_at`,
					c.Key, c.Failed, millis(c.Last))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// DropCounts removes counters whose last failure is older.
func (db *DB) DropCounts(ctx context.Context, before time.Time) error {
	_, err := db.write.ExecContext(ctx, `DELETE FROM failure WHERE last_at < $1`, millis(before))
	return wrap("remove old counters", err)
}
