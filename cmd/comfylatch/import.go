package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"comfylatch/internal/account"
	"comfylatch/internal/audit"
	"comfylatch/internal/config"
	"comfylatch/internal/login"
	"comfylatch/internal/people"
	"comfylatch/internal/session"
	"comfylatch/internal/store"
	"comfylatch/internal/throttle"
)

// readWithComfyUI is for sub-commands that work on ComfyUI's folder.
func readWithComfyUI(env Env) (config.Config, error) {
	cfg, err := config.Read(env.Args, []string{"main.py"}, config.Env{Getenv: env.Getenv, Workdir: env.Workdir})
	if err != nil {
		return cfg, err
	}
	if cfg.ComfyUI == "" {
		return cfg, usagef("say where ComfyUI is: --comfyui DIR")
	}
	if err := cfg.Resolve("127.0.0.1:8189", env.Getenv); err != nil {
		return cfg, err
	}
	return cfg, errors.Join(cfg.Problems()...)
}

// runImport takes over what ComfyUI-Login has left, which the gate would do at
// its next start as well, and says what it found and what is still to be done.
func runImport(ctx context.Context, env Env) error {
	cfg, err := readWithComfyUI(env)
	if err != nil {
		return err
	}
	old := filepath.Join(cfg.ComfyUI, "PASSWORD")
	_, oldErr := os.Stat(old)
	db, err := openState(ctx, cfg)
	if err != nil {
		return err
	}
	defer db.Close()
	unlock, err := store.Lock(cfg.State) // a running gate has taken it over already
	if err != nil {
		return err
	}
	defer unlock()
	log := newLogger(env, cfg)
	limiter, err := throttle.New(ctx, db)
	if err != nil {
		return err
	}
	events := audit.New(db, log)
	l, err := login.New(ctx, login.Options{StateDir: cfg.State, ComfyDir: cfg.ComfyUI, APIKey: cfg.APIKey, Store: db,
		Sessions: session.New(db, session.Config{}), Throttle: limiter, Audit: events, Log: log})
	if err != nil {
		return err
	}
	say := func(format string, a ...any) { fmt.Fprintf(env.Stdout, format+"\n", a...) }
	if err := errors.Join(importUsers(ctx, cfg, people.New(people.Options{Store: db, Audit: events, Owner: l.Status().OwnerName}), say), events.Flush(ctx)); err != nil {
		return err
	}
	if oldErr == nil {
		say("moved:    %s to %s", old, filepath.Join(cfg.State, "PASSWORD"))
	}
	switch st := l.Status(); {
	case st.SetUp && st.OwnerName != "":
		say("password: taken over, of %q; it works as it was", st.OwnerName)
	case st.SetUp:
		say("password: taken over; it has no name yet, the first log-in gives it one")
	default:
		say("password: none found in %s: the first visit chooses one", cfg.State)
	}
	if l.Status().Guests {
		say("guests:   let in, as the file GUEST_MODE says")
	}
	if login := loginNode(cfg.ComfyUI); login != "" {
		say("to do:    remove %s and restart ComfyUI, or people must log in twice", login)
	}
	say("start:    comfylatch --comfyui %s", cfg.ComfyUI)
	return nil
}

// importUsers takes over the names of ComfyUI's --multi-user, which has no
// passwords: as accounts that are disabled until their invitation is accepted.
func importUsers(ctx context.Context, cfg config.Config, to *people.Service, say func(string, ...any)) error {
	path := filepath.Join(cfg.ComfyUI, "user", "users.json")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var users map[string]string // by the name of their folder
	if err == nil {
		err = json.Unmarshal(text, &users)
	}
	if err != nil {
		return fmt.Errorf("read ComfyUI's users in %s: %w", path, err)
	}
	u := userCommand{cfg: cfg, people: to}
	for _, folder := range slices.Sorted(maps.Keys(users)) {
		p, err := to.Import(ctx, strings.Join(strings.Fields(users[folder]), " "))
		var input *account.InputError
		if errors.As(err, &input) {
			say("left out: %s, user %q: %s", folder, users[folder], input.Sentence)
			continue
		}
		if err != nil {
			return err
		}
		code, _, err := to.MakeLink(ctx, people.Command(), people.NewLink{Kind: account.Invitation, Role: p.Role, UserID: p.ID})
		if err != nil {
			return err
		}
		say("user:     %s, disabled until they open %s/_latch/join?code=%s", p.Name, u.base(), code.Reveal())
	}
	return nil
}

// loginNode finds ComfyUI-Login among the custom nodes, "" where it is not.
func loginNode(comfyui string) string {
	dir := filepath.Join(comfyui, "custom_nodes")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ""
	}
	for _, e := range entries {
		if strings.EqualFold(e.Name(), "ComfyUI-Login") {
			return filepath.Join(dir, e.Name())
		}
	}
	return ""
}
