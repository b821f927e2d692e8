package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"comfylatch/internal/account"
	"comfylatch/internal/config"
	"comfylatch/internal/login"
	"comfylatch/internal/store"
)

// runToken makes, lists and ends tokens, beside a running gate too: that
// notices within a second.
func runToken(ctx context.Context, env Env) error {
	var asJSON bool
	var role, expires string
	cfg, words, err := config.ReadWords(env.Args, nil, config.Env{Getenv: env.Getenv, Workdir: env.Workdir}, func(f *flag.FlagSet) {
		f.BoolVar(&asJSON, "json", false, "")
		f.StringVar(&role, "role", account.Admin.String(), "")
		f.StringVar(&expires, "expires", "", "")
	})
	if err == nil {
		err = cfg.Resolve("", env.Getenv)
	}
	if err != nil {
		return err
	}
	if len(words) == 0 {
		return usagef("say what to do: token create NAME, token list or token revoke ID")
	}
	db, err := openState(ctx, cfg)
	if err != nil {
		return err
	}
	defer db.Close()
	tokens := login.NewTokens(db)
	switch verb := words[0]; {
	case verb == "create" && len(words) == 2:
		return createToken(ctx, env, tokens, words[1], role, expires, asJSON)
	case verb == "list" && len(words) == 1:
		return listTokens(ctx, env, tokens, asJSON)
	case verb == "revoke" && len(words) == 2:
		return revokeToken(ctx, env, tokens, words[1])
	}
	return usagef("token %s: write token create NAME, token list or token revoke ID", strings.Join(words, " "))
}

// openState opens the database of a state folder, which is made where it is
// missing: a token may be made before the gate first runs.
func openState(ctx context.Context, cfg config.Config) (*store.DB, error) {
	if err := makeState(cfg.State); err != nil {
		return nil, err
	}
	return store.Open(ctx, filepath.Join(cfg.State, "comfylatch.db"))
}

func createToken(ctx context.Context, env Env, tokens *login.Tokens, name, role, expires string, asJSON bool) error {
	r, scope, err := account.ParseGrant(role)
	if err != nil {
		return usagef("--role: %w", err)
	}
	if err := account.CheckName(name); err != nil {
		return usagef("the token's name %q: %w", name, err)
	}
	var until time.Time
	if expires != "" {
		d, err := parseAge(expires)
		if err != nil {
			return err
		}
		until = time.Now().Add(d)
	}
	secret, t, err := tokens.CreateToken(ctx, login.NewToken{Name: name, Role: r, Scope: scope, Expires: until})
	if err != nil {
		return err
	}
	if asJSON {
		return writeJSON(env, map[string]any{"id": t.ID, "name": t.Name, "role": t.Grant(), "token": secret.Reveal(), "expires": stamp(t.ExpiresAt)})
	}
	fmt.Fprintf(env.Stderr, "Token %s (%s), %s. It is shown only now:\n", t.ID, t.Name, lifetime(t.ExpiresAt))
	fmt.Fprintln(env.Stdout, secret.Reveal())
	return nil
}

func listTokens(ctx context.Context, env Env, tokens *login.Tokens, asJSON bool) error {
	all, err := tokens.ListTokens(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		list := []map[string]any{}
		for _, t := range all {
			list = append(list, map[string]any{"id": t.ID, "name": t.Name, "kind": t.Kind, "role": t.Grant(), "created": stamp(t.CreatedAt),
				"expires": stamp(t.ExpiresAt), "used": stamp(t.UsedAt), "used_from": t.UsedFrom, "revoked": stamp(t.RevokedAt)})
		}
		return writeJSON(env, list)
	}
	w := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tNAME\tROLE\tKIND\tCREATED\tEXPIRES\tLAST USED\tSTATE")
	for _, t := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", t.ID, t.Name, t.Grant(), t.Kind, day(t.CreatedAt, "-"), day(t.ExpiresAt, "never"), day(t.UsedAt, "never"), tokenState(t))
	}
	return w.Flush()
}

func tokenState(t account.Token) string {
	switch {
	case !t.RevokedAt.IsZero():
		return "revoked"
	case !t.ExpiresAt.IsZero() && t.ExpiresAt.Before(time.Now()):
		return "expired"
	}
	return "live"
}

func revokeToken(ctx context.Context, env Env, tokens *login.Tokens, id string) error {
	switch err := tokens.RevokeToken(ctx, id); {
	case errors.Is(err, account.ErrNotFound):
		return fmt.Errorf("there is no live token %q: see comfylatch token list", id)
	case err != nil:
		return err
	}
	fmt.Fprintf(env.Stderr, "Token %s is revoked: it ends within a second, its open sockets too.\n", id)
	return nil
}

// parseAge reads "30d", "12h" or "90m".
func parseAge(s string) (time.Duration, error) {
	text, factor := s, time.Duration(1)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		text, factor = days+"h", 24
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 || d > 100*365*24*time.Hour/factor {
		return 0, usagef("--expires %q is not a length of time: write 30d, 12h or 90m", s)
	}
	return d * factor, nil
}

func lifetime(t time.Time) string {
	if t.IsZero() {
		return "for good"
	}
	return "until " + t.Local().Format(time.DateTime)
}

func day(t time.Time, none string) string {
	if t.IsZero() {
		return none
	}
	return t.Local().Format("2006-01-02 15:04")
}

// stamp is a time in JSON: RFC 3339 in UTC, or null.
func stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339)
}

func writeJSON(env Env, v any) error {
	e := json.NewEncoder(env.Stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
