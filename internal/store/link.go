package store

import (
	"context"
	"database/sql"
	"time"

	"comfylatch/internal/account"
)

const linkColumns = `id, hash, kind, role, user_id, name, made_by, created_at, expires_at, uses, used_at, revoked_at`

func scanLink(row interface{ Scan(...any) error }) (account.Link, error) {
	var l account.Link
	var role string
	var created, expires, used, revoked int64
	err := row.Scan(&l.ID, &l.Hash, &l.Kind, &role, &l.UserID, &l.Name, &l.MadeBy, &created, &expires, &l.Uses, &used, &revoked)
	if err == nil {
		l.Role, err = account.ParseRole(role)
	}
	if err != nil {
		return account.Link{}, err
	}
	l.CreatedAt, l.ExpiresAt, l.UsedAt, l.RevokedAt = moment(created), moment(expires), moment(used), moment(revoked)
	return l, nil
}

// PutLink keeps a new link. One made by somebody who may not (any more) is not
// kept: account.ErrNotAllowed.
func (db *DB) PutLink(ctx context.Context, l account.Link) error {
	res, err := db.write.ExecContext(ctx, `INSERT INTO link (`+linkColumns+`)
		SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12
		WHERE ($7 = 'owner' OR EXISTS (SELECT 1 FROM person WHERE id = $7 AND disabled_at = 0 AND (role = 'admin' OR $3 = 'phone' AND $5 = $7)))
		AND ($5 IN ('', 'owner') OR EXISTS (SELECT 1 FROM person WHERE id = $5))`,
		l.ID, l.Hash, string(l.Kind), l.Role.String(), l.UserID, l.Name, l.MadeBy, millis(l.CreatedAt), millis(l.ExpiresAt), l.Uses, millis(l.UsedAt), millis(l.RevokedAt))
	return wrap("keep a link", oneRow(res, err, account.ErrNotAllowed))
}

// LinkByHash finds a link, also a dead one, or account.ErrNotFound.
func (db *DB) LinkByHash(ctx context.Context, hash string) (account.Link, error) {
	l, err := scanLink(db.read.QueryRowContext(ctx, `SELECT `+linkColumns+` FROM link WHERE hash = $1`, hash))
	return l, wrap("look up a link", err)
}

// Links lists the links that live, the newest first, made by one user, or by
// all where madeBy is "". The cursor of a link is its ID.
func (db *DB) Links(ctx context.Context, madeBy string, now time.Time, page account.Page) ([]account.Link, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT `+linkColumns+` FROM link
		WHERE revoked_at = 0 AND uses > 0 AND expires_at > $1 AND ($2 = '' OR made_by = $2)
		AND ($3 = '' OR (created_at, id) < (SELECT created_at, id FROM link WHERE id = $3))
		ORDER BY created_at DESC, id DESC LIMIT $4`, millis(now), madeBy, page.After, page.Limit)
	out, err := all(rows, err, scanLink)
	return out, wrap("list links", err)
}

const liveLink = `revoked_at = 0 AND uses > 0 AND expires_at > $1`

// takeLink uses a link once, if it lives: else account.ErrLinkDead.
func takeLink(ctx context.Context, tx *sql.Tx, hash string, kind account.LinkKind, now time.Time) (account.Link, error) {
	l, err := scanLink(tx.QueryRowContext(ctx, `UPDATE link SET uses = uses - 1, used_at = $1 WHERE hash = $2 AND kind = $3 AND `+liveLink+` RETURNING `+linkColumns,
		millis(now), hash, string(kind)))
	if err == sql.ErrNoRows {
		err = account.ErrLinkDead
	}
	return l, err
}

// TakeLink uses a link once: of several at once, one gets it, the others
// account.ErrLinkDead.
func (db *DB) TakeLink(ctx context.Context, hash string, kind account.LinkKind, now time.Time) (l account.Link, err error) {
	err = db.tx(ctx, "use a link", func(tx *sql.Tx) error {
		l, err = takeLink(ctx, tx, hash, kind, now)
		return err
	})
	return l, err
}

// AcceptInvitation uses an invitation to make p, or, where it is for an
// account that exists, to give that one its first password and let it in. It
// gives the account as it stands then. account.ErrTaken leaves the link as it was.
func (db *DB) AcceptInvitation(ctx context.Context, hash string, p account.Person, now time.Time) (made account.Person, err error) {
	err = db.tx(ctx, "accept an invitation", func(tx *sql.Tx) error {
		l, err := takeLink(ctx, tx, hash, account.Invitation, now)
		if err != nil {
			return err
		}
		if l.UserID == "" {
			made = p
			made.Role = l.Role
			return putPerson(ctx, tx, made)
		}
		made, err = scanPerson(tx.QueryRowContext(ctx, `UPDATE person SET password = $1, epoch = $2, disabled_at = 0 WHERE id = $3 RETURNING `+personColumns,
			p.Password, p.Epoch, l.UserID))
		return err
	})
	return made, err
}

// ResetPassword uses a reset link to give its person another password, and
// ends what hung on the old one.
func (db *DB) ResetPassword(ctx context.Context, hash, password, epoch string, now time.Time) (made account.Person, ended account.Ended, err error) {
	err = db.tx(ctx, "choose a new password", func(tx *sql.Tx) error {
		l, err := takeLink(ctx, tx, hash, account.Reset, now)
		if err != nil {
			return err
		}
		made, err = scanPerson(tx.QueryRowContext(ctx, `UPDATE person SET password = $1, epoch = $2 WHERE id = $3 AND disabled_at = 0 RETURNING `+personColumns,
			password, epoch, l.UserID))
		if err == sql.ErrNoRows {
			return account.ErrLinkDead
		}
		if err != nil {
			return err
		}
		ended, err = endPerson(ctx, tx, made.ID, now, account.Anonymous)
		return err
	})
	return made, ended, err
}

// TakeRun counts a run of a guest link down, if it lives and has one left:
// else account.ErrLinkDead.
func (db *DB) TakeRun(ctx context.Context, id string, now time.Time) error {
	res, err := db.write.ExecContext(ctx, `UPDATE link SET uses = uses - 1, used_at = $1 WHERE id = $2 AND kind = 'guest' AND `+liveLink, millis(now), id)
	return wrap("count a run", oneRow(res, err, account.ErrLinkDead))
}

// GiveRun takes a count back: the run did not come about.
func (db *DB) GiveRun(ctx context.Context, id string) error {
	_, err := db.write.ExecContext(ctx, `UPDATE link SET uses = uses + 1 WHERE id = $1 AND kind = 'guest'`, id)
	return wrap("give a run back", err)
}

// RevokeLink takes a link back, if madeBy made it (or whoever, where "") and it
// has not been taken back: else account.ErrNotFound. It gives the sessions that
// ended with it.
func (db *DB) RevokeLink(ctx context.Context, id, madeBy string, at time.Time) (gone []string, err error) {
	err = db.tx(ctx, "take a link back", func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, `UPDATE link SET revoked_at = $1 WHERE id = $2 AND revoked_at = 0 AND ($3 = '' OR made_by = $3)`, millis(at), id, madeBy)
		if err := oneRow(res, err, account.ErrNotFound); err != nil {
			return err
		}
		gone, err = deleteSessionsIn(ctx, tx, `epoch = $1`, account.LinkEpoch+id)
		return err
	})
	return gone, err
}

// RevokeUserLinks takes back what a user has made and what is for them.
func (db *DB) RevokeUserLinks(ctx context.Context, userID string, at time.Time) (gone []string, err error) {
	err = db.tx(ctx, "take a user's links back", func(tx *sql.Tx) error {
		gone, err = revokeLinksIn(ctx, tx, at, `user_id = $2 OR made_by = $2`, userID)
		return err
	})
	return gone, err
}

// revokeLinksIn takes links back and gives the sessions that ended with them.
func revokeLinksIn(ctx context.Context, tx *sql.Tx, at time.Time, where string, args ...any) ([]string, error) {
	ids, err := texts(tx.QueryContext(ctx, `UPDATE link SET revoked_at = $1 WHERE revoked_at = 0 AND (`+where+`) RETURNING id`, append([]any{millis(at)}, args...)...))
	if err != nil {
		return nil, err
	}
	var gone []string
	for _, id := range ids {
		hashes, err := deleteSessionsIn(ctx, tx, `epoch = $1`, account.LinkEpoch+id)
		if err != nil {
			return nil, err
		}
		gone = append(gone, hashes...)
	}
	return gone, nil
}

// DropLinks removes links that died before a time.
func (db *DB) DropLinks(ctx context.Context, before time.Time) error {
	_, err := db.write.ExecContext(ctx, `DELETE FROM link WHERE expires_at < $1 OR revoked_at > 0 AND revoked_at < $1`, millis(before))
	return wrap("remove old links", err)
}
