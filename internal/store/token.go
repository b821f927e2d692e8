package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"comfylatch/internal/account"
)

const tokenColumns = `id, hash, name, kind, user_id, role, epoch, created_at, expires_at, used_at, used_from, revoked_at, scope`

// PutToken keeps a new token. The one of a person who may not have it (any
// more), or whose name is taken, is not kept: account.ErrTaken.
func (db *DB) PutToken(ctx context.Context, t account.Token) error {
	res, err := db.write.ExecContext(ctx, `INSERT INTO token (`+tokenColumns+`)
		SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13
		WHERE $5 IN ('', 'owner') OR EXISTS (SELECT 1 FROM person WHERE id = $5 AND disabled_at = 0 AND `+rank("role")+` >= `+rank("$6")+`)
		ON CONFLICT DO NOTHING`,
		t.ID, t.Hash, t.Name, t.Kind, t.UserID, t.Role.String(), t.Epoch, millis(t.CreatedAt), millis(t.ExpiresAt),
		millis(t.UsedAt), t.UsedFrom, millis(t.RevokedAt), t.Scope.String())
	return wrap("keep a token", oneRow(res, err, account.ErrTaken))
}

// rank orders roles in SQL as account.Role does.
func rank(role string) string {
	return `CASE ` + role + ` WHEN 'guest' THEN 1 WHEN 'user' THEN 2 WHEN 'admin' THEN 3 ELSE 4 END`
}

// TokenByHash finds a token, also a dead one, or account.ErrNotFound.
func (db *DB) TokenByHash(ctx context.Context, hash string) (account.Token, error) {
	t, err := scanToken(db.read.QueryRowContext(ctx, `SELECT `+tokenColumns+` FROM token WHERE hash = $1`, hash))
	return t, wrap("look up a token", err)
}

// Tokens lists the tokens that are not revoked, the oldest first.
func (db *DB) Tokens(ctx context.Context) ([]account.Token, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT `+tokenColumns+` FROM token WHERE revoked_at = 0 ORDER BY created_at, id`)
	out, err := all(rows, err, scanToken)
	return out, wrap("list tokens", err)
}

// TokenPage lists a user's tokens, or everybody's where userID is "", the
// newest first. The cursor of a token is its Cursor.
func (db *DB) TokenPage(ctx context.Context, userID string, page account.Page) ([]account.Token, error) {
	created, id := int64(1<<62), ""
	if page.After != "" {
		fmt.Sscanf(page.After, "%d-%s", &created, &id)
	}
	where, args := `(created_at < $1 OR created_at = $1 AND id > $2)`, []any{created, id, page.Limit}
	if userID != "" {
		where, args = where+` AND user_id = $4`, append(args, userID)
	}
	rows, err := db.read.QueryContext(ctx, `SELECT `+tokenColumns+` FROM token WHERE revoked_at = 0 AND `+where+` ORDER BY created_at DESC, id LIMIT $3`, args...)
	out, err := all(rows, err, scanToken)
	return out, wrap("list tokens", err)
}

func scanToken(row interface{ Scan(...any) error }) (account.Token, error) {
	var t account.Token
	var role, scope string
	var created, expires, used, revoked int64
	err := row.Scan(&t.ID, &t.Hash, &t.Name, &t.Kind, &t.UserID, &role, &t.Epoch, &created, &expires, &used, &t.UsedFrom, &revoked, &scope)
	if err == nil {
		t.Role, err = account.ParseRole(role)
	}
	if err == nil {
		t.Scope, err = account.ParseScope(scope)
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
			if _, err := tx.ExecContext(ctx, `UPDATE person SET seen_at = $1 WHERE id = $2 AND seen_at < $1`, millis(t.UsedAt), t.UserID); err != nil {
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

// RevokeTokenOf ends one token if it is that user's.
func (db *DB) RevokeTokenOf(ctx context.Context, id, userID string, at time.Time) ([]string, error) {
	return db.revokeTokens(ctx, at, `id = $2 AND user_id = $3`, id, userID)
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
	err := db.tx(ctx, "revoke tokens", func(tx *sql.Tx) (err error) {
		gone, err = revokeTokensIn(ctx, tx, at, where, args...)
		return err
	})
	return gone, err
}

func revokeTokensIn(ctx context.Context, tx *sql.Tx, at time.Time, where string, args ...any) (gone []string, err error) {
	for {
		hashes, err := texts(tx.QueryContext(ctx, `UPDATE token SET revoked_at = $1 WHERE revoked_at = 0 AND (`+where+`) RETURNING hash`,
			append([]any{millis(at)}, args...)...))
		if err != nil {
			return nil, err
		}
		if gone = append(gone, hashes...); len(hashes) == 0 {
			return gone, nil
		}
		// Round again for what was obtained for the ones just revoked.
		where, args = `epoch IN (SELECT 'token:' || id FROM token WHERE revoked_at > 0)`, nil
	}
}

// DropTokens removes tokens that were revoked before a time.
func (db *DB) DropTokens(ctx context.Context, before time.Time) error {
	_, err := db.write.ExecContext(ctx, `DELETE FROM token WHERE revoked_at > 0 AND revoked_at < $1`, millis(before))
	return wrap("remove old tokens", err)
}
