package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"comfylatch/internal/config"
	"comfylatch/internal/incognito"
	"comfylatch/internal/store"
	"comfylatch/node"
)

// runUninstall takes everything of ours out of ComfyUI's folder. What the
// owner wrote (a login page, a configuration) is kept elsewhere and named; a
// password file that ComfyUI-Login made and still can read stays.
func runUninstall(_ context.Context, env Env) error {
	cfg, err := readWithComfyUI(env)
	if err != nil {
		return err
	}
	removed, err := node.Remove(cfg.ComfyUI)
	if err != nil {
		return err
	}
	if removed {
		fmt.Fprintln(env.Stderr, "The companion node is removed.")
	}
	dir := filepath.Join(cfg.ComfyUI, "login")
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		fmt.Fprintln(env.Stderr, "There is nothing of comfylatch's in", cfg.ComfyUI)
		return nil
	}
	unlock, err := store.Lock(dir) // a running gate would write it all again
	if err != nil {
		return err
	}
	defer unlock()
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read %s: %w", dir, err)
	}
	loginStays := loginNode(cfg.ComfyUI) != ""
	for _, e := range entries {
		if err := removeOurs(env, dir, e.Name(), loginStays); err != nil {
			return err
		}
	}
	if os.Remove(dir) != nil {
		fmt.Fprintln(env.Stderr, "Left alone, as it is not comfylatch's: what is still in", dir)
	}
	fmt.Fprintln(env.Stderr, "comfylatch has left", cfg.ComfyUI)
	return nil
}

func removeOurs(env Env, dir, name string, loginStays bool) error {
	path := filepath.Join(dir, name)
	switch {
	case name == "incognito":
		return incognito.New(incognito.Options{Dir: path}).Clean()
	case name == "login.html" || name == "comfylatch.toml":
		return putAside(env, path)
	case name == "PASSWORD" && loginStays && !isOurs(path):
		return nil
	case name == "GUEST_MODE" && loginStays:
		return nil
	case name == "PASSWORD", name == "GUEST_MODE", name == "lock", name == "secret.key", name == "node.secret", strings.HasPrefix(name, "comfylatch.db"):
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("remove %s: %w", path, err)
		}
	}
	return nil
}

// isOurs tells a hash that ComfyUI-Login could not read.
func isOurs(path string) bool {
	text, err := os.ReadFile(path)
	return err == nil && strings.HasPrefix(strings.TrimPrefix(string(text), "\ufeff"), "$argon2id$")
}

// putAside moves what the owner wrote into their own state folder.
func putAside(env Env, path string) error {
	c := config.Default()
	if err := c.Resolve("", env.Getenv); err != nil {
		return err
	}
	to := filepath.Join(c.State, time.Now().Format("uninstalled-20060102-150405"), filepath.Base(path))
	text, err := os.ReadFile(path)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(to), 0o700)
	}
	if err == nil {
		err = os.WriteFile(to, text, 0o600)
	}
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil {
		return fmt.Errorf("keep %s: %w", path, err)
	}
	fmt.Fprintf(env.Stderr, "Kept: %s is now %s\n", path, to)
	return nil
}
