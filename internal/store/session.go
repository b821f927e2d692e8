package store

import (
	"context"
	"database/sql"
	"time"

	"comfylatch/internal/account"
)

// PutSession keeps a new session. Its hash must be new.
func (db *DB) PutSession(ctx context.Context, s account.Session) error {
	_, err := db.write.ExecContext(ctx, `INSERT INTO session
		(hash, user_id, role, name, epoch, created_at, seen_at, address, agent)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		s.Hash, s.UserID, s.Role.String(), s.Name, s.Epoch, millis(s.CreatedAt), millis(s.SeenAt), s.Address, s.Agent)
	return wrap("keep a session", err)
}

// Session finds a session by its hash, or account.ErrNotFound.
func (db *DB) Session(ctx context.Context, hash string) (account.Session, error) {
	s := account.Session{Hash: hash}
	var role string
	var created, seen int64
	err := db.read.QueryRowContext(ctx, `SELECT user_id, role, name, epoch, created_at, seen_at, address, agent
		FROM session WHERE hash = $1`, hash).
		Scan(&s.UserID, &role, &s.Name, &s.Epoch, &created, &seen, &s.Address, &s.Agent)
	if err == nil {
		s.Role, err = account.ParseRole(role)
	}
	if err != nil {
		return account.Session{}, wrap("look up a session", err)
	}
	s.CreatedAt, s.SeenAt = moment(created), moment(seen)
	return s, nil
}

// TouchSessions writes when sessions were last seen; ended ones are passed over.
func (db *DB) TouchSessions(ctx context.Context, seen map[string]time.Time) error {
	return db.tx(ctx, "renew sessions", func(tx *sql.Tx) error {
		for hash, at := range seen {
			if _, err := tx.ExecContext(ctx, `UPDATE session SET seen_at = $1 WHERE hash = $2 AND seen_at < $1`, millis(at), hash); err != nil {
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

// DeleteUserSessions ends a user's sessions, but for the one with the hash except.
func (db *DB) DeleteUserSessions(ctx context.Context, userID, except string) ([]string, error) {
	return db.deleteSessions(ctx, `user_id = $1 AND hash <> $2`, userID, except)
}

// DeleteEpochSessions ends the sessions whose epoch begins with prefix and is not live.
func (db *DB) DeleteEpochSessions(ctx context.Context, prefix, live string) ([]string, error) {
	return db.deleteSessions(ctx, `substr(epoch, 1, length($1)) = $1 AND epoch <> $2`, prefix, live)
}

// DeleteRoleSessions ends the sessions of a role.
func (db *DB) DeleteRoleSessions(ctx context.Context, role account.Role) ([]string, error) {
	return db.deleteSessions(ctx, `role = $1`, role.String())
}

// DeleteOldSessions ends sessions made before created, guests' last seen
// before guestSeen, and others' last seen before seen.
func (db *DB) DeleteOldSessions(ctx context.Context, created, seen, guestSeen time.Time) ([]string, error) {
	return db.deleteSessions(ctx, `created_at < $1 OR seen_at < CASE WHEN role = 'guest' THEN $3 ELSE $2 END`,
		millis(created), millis(seen), millis(guestSeen))
}

func (db *DB) deleteSessions(ctx context.Context, where string, args ...any) ([]string, error) {
	var gone []string
	err := db.tx(ctx, "end sessions", func(tx *sql.Tx) (err error) {
		gone, err = texts(tx.QueryContext(ctx, `DELETE FROM session WHERE `+where+` RETURNING hash`, args...))
		return err
	})
	return gone, err
}
