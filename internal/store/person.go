package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"comfylatch/internal/account"
)

const personColumns = `id, name, role, password, epoch, created_at, seen_at, disabled_at`

func scanPerson(row interface{ Scan(...any) error }) (account.Person, error) {
	var p account.Person
	var role string
	var created, seen, disabled int64
	err := row.Scan(&p.ID, &p.Name, &role, &p.Password, &p.Epoch, &created, &seen, &disabled)
	if err == nil {
		p.Role, err = account.ParseRole(role)
	}
	if err != nil {
		return account.Person{}, err
	}
	p.CreatedAt, p.SeenAt, p.DisabledAt = moment(created), moment(seen), moment(disabled)
	return p, nil
}

// PutPerson keeps a new person. A name that is taken, or looks like one that
// is, is account.ErrTaken.
func (db *DB) PutPerson(ctx context.Context, p account.Person) error {
	return db.tx(ctx, "keep an account", func(tx *sql.Tx) error { return putPerson(ctx, tx, p) })
}

func putPerson(ctx context.Context, tx *sql.Tx, p account.Person) error {
	res, err := tx.ExecContext(ctx, `INSERT INTO person (`+personColumns+`, folded, skeleton)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING`,
		p.ID, p.Name, p.Role.String(), p.Password, p.Epoch, millis(p.CreatedAt), millis(p.SeenAt), millis(p.DisabledAt),
		account.FoldName(p.Name), account.Skeleton(p.Name))
	return oneRow(res, err, account.ErrTaken)
}

// Person finds a person by ID, or account.ErrNotFound.
func (db *DB) Person(ctx context.Context, id string) (account.Person, error) {
	p, err := scanPerson(db.read.QueryRowContext(ctx, `SELECT `+personColumns+` FROM person WHERE id = $1`, id))
	return p, wrap("look up an account", err)
}

// PersonByName finds a person by any spelling of the name, or account.ErrNotFound.
func (db *DB) PersonByName(ctx context.Context, name string) (account.Person, error) {
	p, err := scanPerson(db.read.QueryRowContext(ctx, `SELECT `+personColumns+` FROM person WHERE folded = $1`, account.FoldName(name)))
	return p, wrap("look up an account", err)
}

// LooksLike finds the person whose name people would take for this one.
func (db *DB) LooksLike(ctx context.Context, name string) (account.Person, error) {
	p, err := scanPerson(db.read.QueryRowContext(ctx, `SELECT `+personColumns+` FROM person WHERE skeleton = $1`, account.Skeleton(name)))
	return p, wrap("look up an account", err)
}

// People lists the accounts by name. The cursor of a person is their name.
func (db *DB) People(ctx context.Context, page account.Page) ([]account.Person, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT `+personColumns+` FROM person WHERE folded > $1 ORDER BY folded LIMIT $2`,
		account.FoldName(page.After), page.Limit)
	out, err := all(rows, err, scanPerson)
	return out, wrap("list accounts", err)
}

// AnyPerson tells whether there is an account beside the owner's.
func (db *DB) AnyPerson(ctx context.Context) (bool, error) {
	var n int
	err := db.read.QueryRowContext(ctx, `SELECT count(*) FROM (SELECT 1 FROM person LIMIT 1)`).Scan(&n)
	return n > 0, wrap("look for accounts", err)
}

// The methods that change a person end their sessions in the same step, with
// the tokens that go beyond what they may now and the links that they made or
// that are theirs. A change that would leave nobody who administers is
// account.ErrLastAdmin, where lastAdmin asks for it: while there is no owner.

const notLastAdmin = ` AND (role <> 'admin' OR disabled_at > 0 OR $2 = 0 OR EXISTS (SELECT 1 FROM person AS other WHERE other.id <> person.id AND other.role = 'admin' AND other.disabled_at = 0))`

// SetRole gives a person another role.
func (db *DB) SetRole(ctx context.Context, id string, role account.Role, epoch string, lastAdmin bool, at time.Time) (account.Ended, error) {
	return db.changePerson(ctx, id, at, role, func(tx *sql.Tx) (sql.Result, error) {
		return tx.ExecContext(ctx, `UPDATE person SET role = $3, epoch = $4 WHERE id = $1`+notLastAdmin, id, number(lastAdmin && role != account.Admin), role.String(), epoch)
	})
}

// SetDisabled locks a person out, or lets them in again where until is zero.
func (db *DB) SetDisabled(ctx context.Context, id string, disabled time.Time, epoch string, lastAdmin bool, at time.Time) (account.Ended, error) {
	return db.changePerson(ctx, id, at, account.Anonymous, func(tx *sql.Tx) (sql.Result, error) {
		return tx.ExecContext(ctx, `UPDATE person SET disabled_at = $3, epoch = $4 WHERE id = $1`+notLastAdmin, id, number(lastAdmin && !disabled.IsZero()), millis(disabled), epoch)
	})
}

// RemovePerson forgets a person.
func (db *DB) RemovePerson(ctx context.Context, id string, lastAdmin bool, at time.Time) (account.Ended, error) {
	return db.changePerson(ctx, id, at, account.Anonymous, func(tx *sql.Tx) (sql.Result, error) {
		return tx.ExecContext(ctx, `DELETE FROM person WHERE id = $1`+notLastAdmin, id, number(lastAdmin))
	})
}

// SetPassword gives a person another password, if their epoch is still old:
// else account.ErrNotFound.
func (db *DB) SetPassword(ctx context.Context, id, old, password, epoch string, at time.Time) (account.Ended, error) {
	ended, err := db.changePerson(ctx, id, at, account.Anonymous, func(tx *sql.Tx) (sql.Result, error) {
		return tx.ExecContext(ctx, `UPDATE person SET password = $1, epoch = $4 WHERE id = $2 AND epoch = $3`, password, id, old, epoch)
	})
	if errors.Is(err, account.ErrLastAdmin) {
		err = account.ErrNotFound // its epoch is another
	}
	return ended, err
}

// changePerson makes one conditional change, and ends what hung on the state
// before: every session, and the tokens above the role keep.
func (db *DB) changePerson(ctx context.Context, id string, at time.Time, keep account.Role, change func(*sql.Tx) (sql.Result, error)) (ended account.Ended, err error) {
	err = db.tx(ctx, "change an account", func(tx *sql.Tx) error {
		res, err := change(tx)
		if err := oneRow(res, err, account.ErrLastAdmin); err != nil {
			var there int
			if errors.Is(err, account.ErrLastAdmin) && tx.QueryRowContext(ctx, `SELECT 1 FROM person WHERE id = $1 AND role = 'admin' AND disabled_at = 0`, id).Scan(&there) != nil {
				return account.ErrNotFound
			}
			return err
		}
		ended, err = endPerson(ctx, tx, id, at, keep)
		return err
	})
	return ended, err
}

func endPerson(ctx context.Context, tx *sql.Tx, id string, at time.Time, keep account.Role) (ended account.Ended, err error) {
	if ended.Sessions, err = deleteSessionsIn(ctx, tx, `user_id = $1`, id); err != nil {
		return ended, err
	}
	if ended.Tokens, err = revokeTokensIn(ctx, tx, at, `user_id = $2 AND `+rank("role")+` > $3`, id, int(keep)); err != nil {
		return ended, err
	}
	byLinks, err := revokeLinksIn(ctx, tx, at, `user_id = $2 OR made_by = $2`, id)
	ended.Sessions = append(ended.Sessions, byLinks...)
	return ended, err
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}
