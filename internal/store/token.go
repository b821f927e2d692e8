package store

import (
	"context"
	"database/sql"
	"time"

	"comfylatch/internal/account"
)

const tokenColumns = `id, hash, name, kind, user_id, role, epoch, created_at, expires_at, used_at, used_from, revoked_at`

// PutToken keeps a new token.
func (db *DB) PutToken(ctx context.Context, t account.Token) error {
	_, err := db.write.ExecContext(ctx, `INSERT INTO token (`+tokenColumns+`)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
		t.ID, t.Hash, t.Name, t.Kind, t.UserID, t.Role.String(), t.Epoch, millis(t.CreatedAt), millis(t.ExpiresAt),
		millis(t.UsedAt), t.UsedFrom, millis(t.RevokedAt))
	return wrap("keep a token", err)
}

// TokenByHash finds a token, also a dead one, or account.ErrNotFound.
func (db *DB) TokenByHash(ctx context.Context, hash string) (account.Token, error) {
	t, err := scanToken(db.read.QueryRowContext(ctx, `SELECT `+tokenColumns+` FROM token WHERE hash = $1`, hash))
	return t, wrap("look up a token", err)
}

// Tokens lists the tokens that are not revoked, the oldest first.
func (db *DB) Tokens(ctx context.Context) ([]account.Token, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT `+tokenColumns+` FROM token WHERE revoked_at = 0 ORDER BY created_at, id`)
	if err != nil {
		return nil, wrap("list tokens", err)
	}
	defer rows.Close()
	var out []account.Token
	for rows.Next() {
		t, err := scanToken(rows)
		if err != nil {
			return nil, wrap("list tokens", err)
		}
		out = append(out, t)
	}
	return out, wrap("list tokens", rows.Err())
}

func scanToken(row interface{ Scan(...any) error }) (account.Token, error) {
	var t account.Token
	var role string
	var created, expires, used, revoked int64
	err := row.Scan(&t.ID, &t.Hash, &t.Name, &t.Kind, &t.UserID, &role, &t.Epoch, &created, &expires, &used, &t.UsedFrom, &revoked)
	if err == nil {
		t.Role, err = account.ParseRole(role)
	}
	if err != nil {
		return account.Token{}, err
	}
	t.CreatedAt, t.ExpiresAt, t.UsedAt, t.RevokedAt = moment(created), moment(expires), moment(used), moment(revoked)
	return t, nil
}

// TouchTokens writes the last use of tokens, by ID.
func (db *DB) TouchTokens(ctx context.Context, uses []account.Token) error {
	return db.tx(ctx, "write the last use of tokens", func(tx *sql.Tx) error {
		for _, t := range uses {
			if _, err := tx.ExecContext(ctx, `UPDATE token SET used_at = $1, used_from = $2 WHERE id = $3`,
				millis(t.UsedAt), t.UsedFrom, t.ID); err != nil {
				return err
			}
		}
		return nil
	})
}

// The methods that revoke tokens also revoke those that were obtained for them
// (epoch "token:ID"), and give the hashes of all that ended.

// RevokeToken ends one token.
func (db *DB) RevokeToken(ctx context.Context, id string, at time.Time) ([]string, error) {
	return db.revokeTokens(ctx, at, `id = $2`, id)
}

// RevokeUserTokens ends all tokens of a user.
func (db *DB) RevokeUserTokens(ctx context.Context, userID string, at time.Time) ([]string, error) {
	return db.revokeTokens(ctx, at, `user_id = $2`, userID)
}

// RevokeEpochTokens ends the tokens whose epoch begins with prefix and is not live.
func (db *DB) RevokeEpochTokens(ctx context.Context, prefix, live string, at time.Time) ([]string, error) {
	return db.revokeTokens(ctx, at, `substr(epoch, 1, length($2)) = $2 AND epoch <> $3`, prefix, live)
}

// RevokeExpiredTokens ends the tokens whose time is over. It writes only when
// there are any, so it may be asked every second.
func (db *DB) RevokeExpiredTokens(ctx context.Context, at time.Time) ([]string, error) {
	const expired = `expires_at > 0 AND expires_at <= $1`
	var n int
	err := db.read.QueryRowContext(ctx, `SELECT count(*) FROM token WHERE revoked_at = 0 AND `+expired, millis(at)).Scan(&n)
	if err != nil || n == 0 {
		return nil, wrap("look for expired tokens", err)
	}
	return db.revokeTokens(ctx, at, expired)
}

func (db *DB) revokeTokens(ctx context.Context, at time.Time, where string, args ...any) ([]string, error) {
	var gone []string
	err := db.tx(ctx, "revoke tokens", func(tx *sql.Tx) error {
		for {
			hashes, err := texts(tx.QueryContext(ctx, `UPDATE token SET revoked_at = $1 WHERE revoked_at = 0 AND (`+where+`) RETURNING hash`,
				append([]any{millis(at)}, args...)...))
			if err != nil {
				return err
			}
			if gone = append(gone, hashes...); len(hashes) == 0 {
				return nil
			}
			// Round again for what was obtained for the ones just revoked.
			where, args = `epoch IN (SELECT 'token:' || id FROM token WHERE revoked_at > 0)`, nil
		}
	})
	return gone, err
}

// DropTokens removes tokens that were revoked before a time.
func (db *DB) DropTokens(ctx context.Context, before time.Time) error {
	_, err := db.write.ExecContext(ctx, `DELETE FROM token WHERE revoked_at > 0 AND revoked_at < $1`, millis(before))
	return wrap("remove old tokens", err)
}
