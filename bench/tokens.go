package main

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"time"

	"comfylatch/internal/store"
)

const tenTokens = "ten tokens"

// tokens is whether a full store makes the gate slower.
func (b *bench) tokens() error {
	l, err := b.rawLine()
	if err != nil {
		return err
	}
	defer l.stop()
	n := pick(b, 1_000_000, 50_000)
	few, many := &server{name: tenTokens}, &server{name: gate}
	for _, one := range []struct {
		s *server
		n int
	}{{few, 10}, {many, n}} {
		if err := b.filled(one.s, l.servers[0].addr, one.n); err != nil {
			return fmt.Errorf("a store with %d tokens: %w", one.n, err)
		}
		defer one.s.process.stop()
	}
	known := b.add(&row{what: fmt.Sprintf("a request, %d tokens in the store", n), unit: "µs", lower: true, goals: []goal{{tenTokens, 1.2, 1}}})
	cold := b.add(&row{what: fmt.Sprintf("a token's first look-up, %d in the store", n), unit: "µs", lower: true})
	for range pick(b, 7, 3) {
		for _, s := range []*server{few, many} {
			w, err := load{addr: s.addr, request: s.get("/api/queue", byToken), conns: 1, time: pick(b, time.Second, 300*time.Millisecond)}.run(b.ctx)
			if err != nil {
				return err
			}
			known.put(s.name, float64(w.median().Nanoseconds())/1000)
			each, err := lookUp(b.ctx, b.stateOf(s))
			if err != nil {
				return err
			}
			cold.put(s.name, float64(each.Nanoseconds())/1000)
		}
	}
	if s, ok := cold.ratio(tenTokens); ok {
		cold.notes = append(cold.notes, fmt.Sprintf("%s × that of ten; it happens once for each token, which is then in memory", s.text()))
	}
	return nil
}

func (b *bench) stateOf(s *server) string { return filepath.Join(b.dir, "state-"+s.name) }

// filled starts a gate whose store holds so many tokens.
func (b *bench) filled(s *server, upstream string, n int) (err error) {
	state := b.stateOf(s)
	if s.addr, err = freeAddr(); err != nil {
		return err
	}
	if err := b.makeToken(s, state); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", filepath.Join(state, "comfylatch.db"))
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(b.ctx, `WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
		INSERT INTO token (id, hash, name, kind, user_id, role, epoch, created_at)
		SELECT 'bench' || i, lower(hex(randomblob(32))), 'bench ' || i, 'api', 'owner', 'user', '', 1 FROM n`, n)
	if err != nil {
		return err
	}
	return b.runGate(s, upstream, state)
}

// lookUp gives the time for finding a token in the store, of a few thousand
// that lie anywhere in it.
func lookUp(ctx context.Context, state string) (time.Duration, error) {
	db, err := store.Open(ctx, filepath.Join(state, "comfylatch.db"))
	if err != nil {
		return 0, err
	}
	defer db.Close()
	hashes, err := someHashes(ctx, state)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	const times = 2000
	for i := range times {
		if _, err := db.TokenByHash(ctx, hashes[i%len(hashes)]); err != nil {
			return 0, err
		}
	}
	return time.Since(began) / times, nil
}

func someHashes(ctx context.Context, state string) (hashes []string, err error) {
	db, err := sql.Open("sqlite", filepath.Join(state, "comfylatch.db"))
	if err != nil {
		return nil, err
	}
	defer db.Close()
	rows, err := db.QueryContext(ctx, `SELECT hash FROM token WHERE rowid % (SELECT count(*) / 2000 + 1 FROM token) = 0`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var h string
		if err := rows.Scan(&h); err != nil {
			return nil, err
		}
		hashes = append(hashes, h)
	}
	return hashes, rows.Err()
}
