package node

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestNodeInPython runs the node's own tests: in plain Python with stand-ins,
// and in $COMFYLATCH_TORCH_PYTHON, which has torch and Pillow, beside the ComfyUI
// in $COMFYUI_DIR.
func TestNodeInPython(t *testing.T) {
	for _, c := range []struct{ name, python, comfyUI string }{
		{"stand-ins", "python3", ""},
		{"real", os.Getenv("COMFYLATCH_TORCH_PYTHON"), os.Getenv("COMFYUI_DIR")},
	} {
		t.Run(c.name, func(t *testing.T) {
			python, err := exec.LookPath(c.python)
			if err != nil || c.name == "real" && c.comfyUI == "" {
				t.Skipf("no Python for it: %v", err)
			}
			cmd := exec.CommandContext(t.Context(), python, "-W", "ignore", "incognito_test.py")
			cmd.Env = append(os.Environ(), "COMFYUI_DIR="+c.comfyUI)
			out, err := cmd.CombinedOutput()
			for line := range strings.Lines(string(out)) {
				if strings.HasPrefix(line, "companion node tested with") {
					t.Log(strings.TrimSpace(line))
				}
			}
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func comfyFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "custom_nodes"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestInstallAndRemoveLeaveNoTrace(t *testing.T) {
	dir := comfyFolder(t)
	want := Settings{Secret: NewSecret(), OnlyGate: true}
	for range 2 { // the second time renews it
		if err := Install(dir, want); err != nil {
			t.Fatal(err)
		}
	}
	if got := Look(dir); !got.Installed || !got.Current || got.Settings != want {
		t.Errorf("the state is %+v", got)
	}
	info, err := os.Stat(filepath.Join(Folder(dir), settings))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the secret can be read by others: %v %v", info, err)
	}
	if err := os.MkdirAll(filepath.Join(Folder(dir), "__pycache__"), 0o755); err != nil {
		t.Fatal(err)
	}
	if there, err := Remove(dir); err != nil || !there {
		t.Fatalf("remove: %v %v", there, err)
	}
	left, err := os.ReadDir(filepath.Join(dir, "custom_nodes"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	if there, err := Remove(dir); err != nil || there {
		t.Errorf("a second time: %v %v", there, err)
	}
}

func TestOldNodeIsTold(t *testing.T) {
	dir := comfyFolder(t)
	if err := Install(dir, Settings{Secret: NewSecret()}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(Folder(dir), "incognito.py"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if Look(dir).Current {
		t.Error("another version counts as this one")
	}
}

func TestNothingForeignIsTouched(t *testing.T) {
	for name, prepare := range map[string]func(dir string) error{
		"another's folder": func(dir string) error {
			return os.Mkdir(dir, 0o755)
		},
		"a link": func(dir string) error { return os.Symlink(t.TempDir(), dir) },
		"a file": func(dir string) error { return os.WriteFile(dir, nil, 0o644) },
	} {
		dir := comfyFolder(t)
		if err := prepare(Folder(dir)); err != nil {
			t.Fatal(err)
		}
		if name == "another's folder" {
			if err := os.WriteFile(filepath.Join(Folder(dir), "__init__.py"), []byte("NODES = {}"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := Install(dir, Settings{Secret: NewSecret()}); err == nil {
			t.Errorf("%s: was installed over", name)
		}
		if _, err := Remove(dir); err == nil {
			t.Errorf("%s: was removed", name)
		}
		if _, err := os.Lstat(Folder(dir)); err != nil {
			t.Errorf("%s: is gone", name)
		}
	}
	if err := Install(t.TempDir(), Settings{}); err == nil {
		t.Error("was installed where there is no ComfyUI")
	}
}

func TestSecretsDiffer(t *testing.T) {
	if a, b := NewSecret(), NewSecret(); a == b || len(a) < 40 || bytes.ContainsAny([]byte(a), " \n\"") {
		t.Errorf("the secrets are %q and %q", a, b)
	}
}
