package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// lockName is the file whose lock says that a gate runs on the state folder.
const lockName = "lock"

var errLocked = errors.New("locked")

// Lock takes the state folder for one gate, until unlock is called or the
// process ends in whatever way. Sub-commands that run beside the gate do not
// take it. The folder is made where it is missing.
func Lock(dir string) (unlock func() error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the state folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the state folder: %w", err)
	}
	if err := lockFile(f); err != nil {
		f.Close()
		if errors.Is(err, errLocked) {
			return nil, fmt.Errorf("another comfylatch already runs on the state folder %s: stop it first, or give this one a folder of its own with --state DIR", dir)
		}
		return nil, fmt.Errorf("lock the state folder %s: %w", dir, err)
	}
	return f.Close, nil
}
