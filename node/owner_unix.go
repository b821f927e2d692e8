//go:build unix

package node

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// giveTo gives a folder to the owner of another, when root installs for a
// ComfyUI that runs as somebody else: its settings are for the owner's eyes.
func giveTo(like, dir string) error {
	info, err := os.Stat(like)
	if err != nil || os.Geteuid() != 0 {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			err = os.Lchown(path, int(st.Uid), int(st.Gid))
		}
		if err != nil {
			return fmt.Errorf("give the companion node to ComfyUI's owner: %w", err)
		}
		return nil
	})
}
