// Package node holds the companion node, the only Python of comfylatch, and
// puts it into a ComfyUI's custom_nodes or takes it out.
//
// It never starts or restarts ComfyUI. The rule that must hold: nothing that is
// not ours is overwritten or removed.
package node

import (
	"bytes"
	"crypto/rand"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

//go:embed comfylatch_incognito/*.py
var files embed.FS

const (
	folder   = "comfylatch_incognito"
	settings = "comfylatch.json"
)

// Settings are what the node is told at its installation.
type Settings struct {
	Secret string `json:"secret"` // shared with the gate
	// OnlyGate makes ComfyUI refuse every request that is not the gate's.
	OnlyGate bool `json:"only_gate"`
}

// Folder is where the node is, or would be, in a ComfyUI.
func Folder(comfyUI string) string { return filepath.Join(comfyUI, "custom_nodes", folder) }

// Install writes the node into a ComfyUI, or renews it.
func Install(comfyUI string, s Settings) error {
	nodes := filepath.Join(comfyUI, "custom_nodes")
	if info, err := os.Stat(nodes); err != nil || !info.IsDir() {
		return fmt.Errorf("install the companion node: %s has no folder custom_nodes, so it is not ComfyUI's: give ComfyUI's with --comfyui", comfyUI)
	}
	dir := Folder(comfyUI)
	if err := mustBeOurs(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("install the companion node: %w", err)
	}
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("install the companion node: %w", err)
	}
	if err := write(dir, settings, append(text, '\n'), 0o600); err != nil {
		return err
	}
	entries, err := files.ReadDir(folder)
	if err != nil {
		return fmt.Errorf("install the companion node: %w", err)
	}
	for _, e := range entries {
		text, err := files.ReadFile(folder + "/" + e.Name())
		if err != nil {
			return fmt.Errorf("install the companion node: %w", err)
		}
		if err := write(dir, e.Name(), text, 0o644); err != nil {
			return err
		}
	}
	return giveTo(nodes, dir)
}

// write replaces a file in one step, so that ComfyUI never reads half of it.
func write(dir, name string, text []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(dir, ".new-")
	if err != nil {
		return fmt.Errorf("install the companion node: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		return fmt.Errorf("install the companion node: %w", err)
	}
	return nil
}

// Remove takes the node out again, without a trace. It tells whether there was
// one.
func Remove(comfyUI string) (bool, error) {
	dir := Folder(comfyUI)
	if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err := mustBeOurs(dir); err != nil {
		return false, err
	}
	if err := os.RemoveAll(dir); err != nil {
		return false, fmt.Errorf("remove the companion node: %w", err)
	}
	return true, nil
}

// mustBeOurs refuses a folder of our name that is not ours, and a link, which
// would lead somewhere else.
func mustBeOurs(dir string) error {
	info, err := os.Lstat(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the companion node: %w", err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "__init__.py"))
	if !info.IsDir() || err != nil && !errors.Is(err, os.ErrNotExist) || len(text) > 0 && !strings.Contains(string(text), "comfylatch's companion node") {
		return fmt.Errorf("%s is not comfylatch's: move it away first", dir)
	}
	return nil
}

// State is what can be seen of the node in a ComfyUI's folder.
type State struct {
	Installed bool
	Current   bool // the files are those of this comfylatch
	Settings  Settings
}

// Look reads the state. Settings that cannot be read are empty.
func Look(comfyUI string) State {
	var s State
	dir := Folder(comfyUI)
	if info, err := os.Stat(filepath.Join(dir, "__init__.py")); err != nil || info.IsDir() {
		return s
	}
	s.Installed, s.Current = true, true
	entries, _ := files.ReadDir(folder)
	for _, e := range entries {
		want, _ := files.ReadFile(folder + "/" + e.Name())
		got, err := os.ReadFile(filepath.Join(dir, e.Name()))
		s.Current = s.Current && err == nil && bytes.Equal(got, want)
	}
	if text, err := os.ReadFile(filepath.Join(dir, settings)); err == nil {
		_ = json.Unmarshal(text, &s.Settings)
	}
	return s
}

// NewSecret makes what gate and node share.
func NewSecret() string { return rand.Text() + rand.Text() }
