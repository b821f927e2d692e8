package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"comfylatch/internal/account"
)

const sessionColumns = `hash, user_id, role, name, epoch, created_at, seen_at, address, agent, expires_at, proved_at`

// PutSession keeps a new session. Its hash must be new. One whose epoch is not
// the person's present one any more, or whose link is dead, is not kept:
// account.ErrBadCredentials. So nobody slips in beside a change.
func (db *DB) PutSession(ctx context.Context, s account.Session) error {
	return db.tx(ctx, "keep a session", func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, `INSERT INTO session (`+sessionColumns+`)
			SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11
			WHERE ($12 = '' OR EXISTS (SELECT 1 FROM person WHERE id = $2 AND role = $3 AND epoch = $12 AND disabled_at = 0))
			AND ($13 = '' OR EXISTS (SELECT 1 FROM link WHERE id = $13 AND revoked_at = 0 AND expires_at > $6))`,
			s.Hash, s.UserID, s.Role.String(), s.Name, s.Epoch, millis(s.CreatedAt), millis(s.SeenAt), s.Address, s.Agent,
			millis(s.ExpiresAt), millis(s.ProvedAt), behind(s.Epoch, account.PersonEpoch), behind(s.Epoch, account.LinkEpoch))
		if err := oneRow(res, err, account.ErrBadCredentials); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE person SET seen_at = $1 WHERE id = $2 AND seen_at < $1`, millis(s.SeenAt), s.UserID)
		return err
	})
}

// behind gives what follows prefix, "" where text does not begin so.
func behind(text, prefix string) string {
	rest, ok := strings.CutPrefix(text, prefix)
	if !ok {
		return ""
	}
	return rest
}

// Session finds a session by its hash, or account.ErrNotFound.
func (db *DB) Session(ctx context.Context, hash string) (account.Session, error) {
	s, err := scanSession(db.read.QueryRowContext(ctx, `SELECT `+sessionColumns+` FROM session WHERE hash = $1`, hash))
	return s, wrap("look up a session", err)
}

func scanSession(row interface{ Scan(...any) error }) (account.Session, error) {
	var s account.Session
	var role string
	var created, seen, expires, proved int64
	err := row.Scan(&s.Hash, &s.UserID, &role, &s.Name, &s.Epoch, &created, &seen, &s.Address, &s.Agent, &expires, &proved)
	if err == nil {
		s.Role, err = account.ParseRole(role)
	}
	if err != nil {
		return account.Session{}, err
	}
	s.CreatedAt, s.SeenAt, s.ExpiresAt, s.ProvedAt = moment(created), moment(seen), moment(expires), moment(proved)
	return s, nil
}

// Sessions lists a user's sessions, or everybody's where userID is "", the
// last used first. The cursor of a session is its Cursor.
func (db *DB) Sessions(ctx context.Context, userID string, page account.Page) ([]account.Session, error) {
	seen, hash := int64(1<<62), ""
	if page.After != "" {
		fmt.Sscanf(page.After, "%d-%s", &seen, &hash) // nonsense lists from the start
	}
	where, args := `(seen_at < $1 OR seen_at = $1 AND hash > $2)`, []any{seen, hash, page.Limit}
	if userID != "" {
		where, args = where+` AND user_id = $4`, append(args, userID)
	}
	rows, err := db.read.QueryContext(ctx, `SELECT `+sessionColumns+` FROM session WHERE `+where+` ORDER BY seen_at DESC, hash LIMIT $3`, args...)
	out, err := all(rows, err, scanSession)
	return out, wrap("list sessions", err)
}

// ProveSession notes that the password was proved again in a session.
func (db *DB) ProveSession(ctx context.Context, hash string, at time.Time) error {
	res, err := db.write.ExecContext(ctx, `UPDATE session SET proved_at = $1 WHERE hash = $2`, millis(at), hash)
	return wrap("note a proved password", oneRow(res, err, account.ErrNotFound))
}

// TouchSessions writes when sessions were last seen; ended ones are passed over.
func (db *DB) TouchSessions(ctx context.Context, seen map[string]time.Time) error {
	return db.tx(ctx, "renew sessions", func(tx *sql.Tx) error {
		for hash, at := range seen {
			if _, err := tx.ExecContext(ctx, `UPDATE session SET seen_at = $1 WHERE hash = $2 AND seen_at < $1`, millis(at), hash); err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, `UPDATE person SET seen_at = $1 WHERE id = (SELECT user_id FROM session WHERE hash = $2) AND seen_at < $1`, millis(at), hash); err != nil {
				return err
			}
		}
		return nil
	})
}

// The methods that delete sessions give the hashes of those that are gone.

// DeleteSession ends one session. One that is gone already is no error.
func (db *DB) DeleteSession(ctx context.Context, hash string) ([]string, error) {
	return db.deleteSessions(ctx, `hash = $1`, hash)
}

// DeleteSessionOf ends one session if it is that user's.
func (db *DB) DeleteSessionOf(ctx context.Context, hash, userID string) ([]string, error) {
	return db.deleteSessions(ctx, `hash = $1 AND user_id = $2`, hash, userID)
}

// DeleteUserSessions ends a user's sessions, but for the one with the hash except.
func (db *DB) DeleteUserSessions(ctx context.Context, userID, except string) ([]string, error) {
	return db.deleteSessions(ctx, `user_id = $1 AND hash <> $2`, userID, except)
}

// DeleteEpochSessions ends the sessions whose epoch begins with prefix and is not live.
func (db *DB) DeleteEpochSessions(ctx context.Context, prefix, live string) ([]string, error) {
	return db.deleteSessions(ctx, `substr(epoch, 1, length($1)) = $1 AND epoch <> $2`, prefix, live)
}

// DeletePassingSessions ends the sessions of guests who came by guest mode.
func (db *DB) DeletePassingSessions(ctx context.Context) ([]string, error) {
	return db.deleteSessions(ctx, `role = 'guest' AND user_id = '' AND epoch = ''`)
}

// DeleteOldSessions ends sessions made before created, guests' last seen
// before guestSeen, others' last seen before seen, and those whose own time
// is over.
func (db *DB) DeleteOldSessions(ctx context.Context, created, seen, guestSeen, now time.Time) ([]string, error) {
	return db.deleteSessions(ctx, `created_at < $1 OR seen_at < CASE WHEN role = 'guest' THEN $3 ELSE $2 END OR expires_at > 0 AND expires_at <= $4`,
		millis(created), millis(seen), millis(guestSeen), millis(now))
}

func (db *DB) deleteSessions(ctx context.Context, where string, args ...any) ([]string, error) {
	var gone []string
	err := db.tx(ctx, "end sessions", func(tx *sql.Tx) (err error) {
		gone, err = deleteSessionsIn(ctx, tx, where, args...)
		return err
	})
	return gone, err
}

func deleteSessionsIn(ctx context.Context, tx *sql.Tx, where string, args ...any) ([]string, error) {
	return texts(tx.QueryContext(ctx, `DELETE FROM session WHERE `+where+` RETURNING hash`, args...))
}
