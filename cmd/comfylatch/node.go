package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"comfylatch/internal/config"
	"comfylatch/internal/incognito"
	"comfylatch/node"
)

// runNode puts the companion node into ComfyUI's folder, or takes it out.
func runNode(_ context.Context, env Env) error {
	var onlyGate bool
	cfg, words, err := config.ReadWords(env.Args, []string{"main.py"}, config.Env{Getenv: env.Getenv, Workdir: env.Workdir}, func(f *flag.FlagSet) {
		f.BoolVar(&onlyGate, "only-gate", false, "")
	})
	if err != nil {
		return err
	}
	if len(words) != 1 || words[0] != "install" && words[0] != "remove" {
		return usagef("say what to do: node install --comfyui DIR or node remove --comfyui DIR")
	}
	if cfg.ComfyUI == "" {
		return usagef("say where ComfyUI is: --comfyui DIR")
	}
	if err := cfg.Resolve("127.0.0.1:8189", env.Getenv); err != nil {
		return err
	}
	if words[0] == "remove" {
		return removeNode(env, cfg)
	}
	if err := installNode(cfg, onlyGate); err != nil {
		return err
	}
	fmt.Fprintf(env.Stderr, "The companion node is in %s.\nRestart ComfyUI: then its menu has \"Upload Image Incognito\", under image.\n", node.Folder(cfg.ComfyUI))
	if onlyGate {
		fmt.Fprintln(env.Stderr, "From then on ComfyUI answers only a comfylatch with the state folder", cfg.State)
	}
	return nil
}

// nodeSecret is the file with what the gate and the companion node share.
func nodeSecret(state string) string { return filepath.Join(state, "node.secret") }

// installNode writes the node, with the secret of the gate's state folder,
// which is made where there is none.
func installNode(cfg config.Config, onlyGate bool) error {
	if err := makeState(cfg.State); err != nil {
		return err
	}
	path := nodeSecret(cfg.State)
	secret, err := incognito.ReadSecret(path)
	if errors.Is(err, os.ErrNotExist) {
		secret = node.NewSecret()
		err = os.WriteFile(path, []byte(secret+"\n"), 0o600)
	}
	if err != nil {
		return fmt.Errorf("the secret of gate and companion node: %w", err)
	}
	return node.Install(cfg.ComfyUI, node.Settings{Secret: secret, OnlyGate: onlyGate})
}

// renewNode is for the ComfyUI that is about to be started. Whether it lets only
// the gate in stays as it was chosen.
func renewNode(cfg config.Config) error {
	if cfg.ComfyUI == "" {
		return usagef("--companion-node: ComfyUI's folder is not known: give it with --comfyui DIR")
	}
	return installNode(cfg, node.Look(cfg.ComfyUI).Settings.OnlyGate)
}

func removeNode(env Env, cfg config.Config) error {
	there, err := node.Remove(cfg.ComfyUI)
	if err != nil {
		return err
	}
	if err := os.Remove(nodeSecret(cfg.State)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the secret: %w", err)
	}
	if !there {
		fmt.Fprintln(env.Stderr, "There is no companion node in", cfg.ComfyUI)
		return nil
	}
	fmt.Fprintln(env.Stderr, "The companion node is removed. Restart ComfyUI.")
	return nil
}

// companionNode looks for the node, and whether it is this gate's.
func (r *report) companionNode(cfg config.Config) {
	if cfg.ComfyUI == "" {
		r.ok("Upload Image Incognito needs the companion node in ComfyUI: comfylatch node install --comfyui DIR")
		return
	}
	again := fmt.Sprintf("run comfylatch node install --comfyui %s and restart ComfyUI", cfg.ComfyUI)
	secret, err := incognito.ReadSecret(nodeSecret(cfg.State))
	switch s := node.Look(cfg.ComfyUI); {
	case !s.Installed:
		r.ok("the companion node for Upload Image Incognito is not installed; to have it, %s", again)
	case s.Settings.Secret == "":
		r.warning("the companion node's settings cannot be read: %s", again)
	case err != nil || s.Settings.Secret != secret:
		r.warning("the companion node belongs to a gate with another state folder: %s", again)
	case !s.Current:
		r.warning("the companion node is another comfylatch's: %s", again)
	case s.Settings.OnlyGate:
		r.ok("the companion node is installed, and lets only this gate in")
	default:
		r.ok("the companion node is installed")
	}
}
